//! Who comes into an event, talks, and goes or is put out in mid-sentence, by way of another node.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rand::Rng as _;
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    changes::change,
    client::{Client, Trouble, Until},
    speaker::Speaker,
};
use crate::ledger::story::{Scope, Story};

/// How long after it was let in a node may still say that it was not: the longest that a node may not have
/// noticed what another has done, twice.
const NOTICED: Duration = Duration::from_secs(10);

/// How long somebody who was put out waits to be told so.
const FAREWELL: Duration = Duration::from_secs(6);

/// A guest, and the host who lets him in and puts him out.
pub(super) struct Guest {
    pub(super) story: Story,
    pub(super) host: Client,
    /// The guest over HTTP.
    pub(super) mover: Client,
    /// The guest on a socket.
    pub(super) speaker: Speaker,
    code: String,
    turn: usize,
}

impl Guest {
    pub(super) fn new(event: i64, host: Client, mover: Client, speaker: Speaker) -> Self {
        Self {
            story: Story::of(event, Scope::Circle),
            host,
            mover,
            speaker,
            code: String::new(),
            turn: 0,
        }
    }

    /// Comes and goes until it is over.
    pub(super) async fn come_and_go(mut self) -> Self {
        while self.take_turn(Until::Over).await.is_some() {}
        self
    }

    /// Comes in, and asks for everything that is not known, until it is.
    pub(super) async fn settle(mut self, deadline: Instant) -> Self {
        let until = Until::Deadline(deadline);
        // Right before the turns in which the guest goes.
        while !matches!(self.turn % 6, 3 | 5) || self.story.open.is_some() {
            if self.take_turn(until).await.is_none() {
                return self;
            }
        }
        self.speaker = self.speaker.settle(deadline).await;
        self
    }

    async fn take_turn(&mut self, until: Until) -> Option<()> {
        let (event, who) = (self.story.event, Some(self.mover.user.id));
        let place = format!("/events/{event}/participants/{}", self.mover.user.id);
        match self.turn % 6 {
            0 => {
                // Who was put out cannot use an older link.
                let path = format!("/events/{event}/invite-link");
                loop {
                    if self.host.stopped(until) {
                        return None;
                    }
                    let answer = self.host.call(Method::POST, &path, &[], Some(json!({}))).await;
                    if let Some(code) = answer.as_ref().and_then(|(_, body)| body["code"].as_str()) {
                        code.clone_into(&mut self.code);
                        // An error has a code as well.
                        if answer.is_some_and(|(status, _)| status.is_success()) {
                            break;
                        }
                    }
                }
            }
            1 => {
                let title = format!("Title {}", self.story.committed.len());
                let call = (
                    Method::PUT,
                    format!("/events/{event}"),
                    Some(json!({ "title": title })),
                );
                change(
                    &mut self.story,
                    &mut self.host,
                    until,
                    ("event_updated", None),
                    call,
                )
                .await?;
            }
            2 | 4 => {
                let call = (Method::POST, format!("/invite/{}/join", self.code), None);
                let step = ("participant_joined", who);
                change(&mut self.story, &mut self.mover, until, step, call).await?;
            }
            3 => {
                let call = (Method::DELETE, place, None);
                self.talk_until(until, ("participant_left", who), call).await?;
            }
            _ => {
                let call = (Method::DELETE, place, None);
                self.talk_until(until, ("participant_removed", who), call).await?;
            }
        }
        self.turn += 1;
        Some(())
    }

    /// Talks until `step` is made, and a while longer.
    async fn talk_until(
        &mut self,
        until: Until,
        step: (&'static str, Option<i64>),
        call: (Method, String, Option<serde_json::Value>),
    ) -> Option<()> {
        let Self {
            story,
            host,
            mover,
            speaker,
            ..
        } = self;
        let gone = AtomicBool::new(false);
        let actor = if step.0 == "participant_left" { mover } else { host };
        let delay = Duration::from_millis(actor.rng.random_range(50..2_500));
        let go = async {
            sleep(delay).await;
            let made = change(story, actor, until, step, call).await;
            gone.store(true, Ordering::SeqCst);
            made
        };
        let (made, ()) = tokio::join!(go, talk(speaker, &gone));
        made
    }
}

/// Talks until told to be out, or for as long as that may take once `gone`.
async fn talk(speaker: &mut Speaker, gone: &AtomicBool) {
    let let_in = Instant::now();
    while !gone.load(Ordering::SeqCst) {
        match speaker.client.attach(Until::Over).await {
            Ok(mut socket) => {
                let mut out_since = None;
                speaker
                    .session(&mut socket, |speaker| {
                        if speaker.client.shared.is_over() {
                            false
                        } else if gone.load(Ordering::SeqCst) {
                            out_since.get_or_insert_with(Instant::now).elapsed() < FAREWELL
                        } else {
                            true
                        }
                    })
                    .await;
                speaker.client.detach(socket);
            }
            Err(Trouble::Refused(code)) => {
                if let_in.elapsed() > NOTICED && !gone.load(Ordering::SeqCst) {
                    let node = speaker.client.node;
                    speaker
                        .client
                        .complain(&format!("is in for {NOTICED:?}, and node {node} says {code}"));
                }
                let pause = speaker.client.rng.random_range(20..200);
                sleep(Duration::from_millis(pause)).await;
            }
            Err(_) => return,
        }
    }
}
