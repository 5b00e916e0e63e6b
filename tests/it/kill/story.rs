//! Who changes events: each change is repeated until it is known what became of it, so
//! that every fact of an event, and their order, is known beforehand.

use std::sync::{Arc, atomic::Ordering};

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::watcher::Life;
use crate::{
    harness::User,
    ledger::story::{Answer, Step, Story, answer},
};

/// Events that are made and called off in one server's life.
const EVENTS_A_LIFE: usize = 3;

/// Somebody who comes into an event and goes again, or is put out.
pub(super) struct Guest {
    pub(super) story: Story,
    pub(super) complaints: Vec<String>,
    host: User,
    user: User,
    code: String,
    turn: usize,
}

impl Guest {
    pub(super) fn new(story: Story, host: User, user: User) -> Self {
        Self {
            story,
            complaints: Vec::new(),
            host,
            user,
            code: String::new(),
            turn: 0,
        }
    }

    pub(super) fn meet(&mut self, address: std::net::SocketAddr) {
        self.host.address = address;
        self.user.address = address;
    }

    /// Comes and goes until the server is gone; with `drain` only until nothing is open.
    pub(super) async fn come_and_go(mut self, life: Arc<Life>, drain: bool) -> Self {
        while !(drain && self.story.open.is_none()) && self.take_turn().await.is_some() {}
        if !life.killed.load(Ordering::SeqCst) && !drain {
            self.complaints
                .push(format!("{}: the server was gone by itself", self.user.name));
        }
        self
    }

    async fn take_turn(&mut self) -> Option<()> {
        let (event, who) = (self.story.event, Some(self.user.id));
        let place = format!("/events/{event}/participants/{}", self.user.id);
        match self.turn % 5 {
            0 => {
                // Who was put out cannot use an older link.
                let path = format!("/events/{event}/invite-link");
                let (_, body) = self
                    .host
                    .try_call(Method::POST, &path, Some(json!({})))
                    .await
                    .ok()?;
                body["code"].as_str()?.clone_into(&mut self.code);
            }
            1 | 3 => {
                let path = format!("/invite/{}/join", self.code);
                self.change(
                    ("participant_joined", who),
                    &self.user.clone(),
                    Method::POST,
                    &path,
                )
                .await?;
            }
            2 => {
                self.change(
                    ("participant_left", who),
                    &self.user.clone(),
                    Method::DELETE,
                    &place,
                )
                .await?;
            }
            _ => {
                self.change(
                    ("participant_removed", who),
                    &self.host.clone(),
                    Method::DELETE,
                    &place,
                )
                .await?;
            }
        }
        self.turn += 1;
        Some(())
    }

    async fn change(&mut self, step: Step, actor: &User, method: Method, path: &str) -> Option<()> {
        loop {
            let again = self.story.open.replace(step).is_some();
            let (status, body) = actor.try_call(method.clone(), path, None).await.ok()?;
            match answer(status, &body, again) {
                Some(Answer::Done { recorded }) => {
                    self.story.add(step, recorded);
                    return Some(());
                }
                Some(Answer::Before) => {
                    self.story.add(step, false);
                    return Some(());
                }
                Some(Answer::Open) => {}
                None => {
                    self.complaints.push(format!(
                        "{step:?} in event {} was answered {status} {body}",
                        self.story.event
                    ));
                    return None;
                }
            }
        }
    }
}

/// Somebody who makes events and calls them off.
pub(super) struct Planner {
    pub(super) stories: Vec<Story>,
    pub(super) complaints: Vec<String>,
    user: User,
}

impl Planner {
    pub(super) fn new(user: User) -> Self {
        Self {
            stories: Vec::new(),
            complaints: Vec::new(),
            user,
        }
    }

    pub(super) fn meet(&mut self, address: std::net::SocketAddr) {
        self.user.address = address;
    }

    /// Plans until the server is gone, or for long enough; with `drain` only until nothing is open.
    pub(super) async fn plan(mut self, drain: bool) -> Self {
        let mut left = if drain { 0 } else { EVENTS_A_LIFE };
        loop {
            if self.stories.last().is_some_and(|story| story.committed.len() < 2) {
                if self.call_off().await.is_none() {
                    break;
                }
            } else if left == 0 || self.make().await.is_none() {
                break;
            } else {
                left -= 1;
            }
        }
        self
    }

    /// An event whose creation was not answered is nobody's: the check looks at it all the same.
    async fn make(&mut self) -> Option<()> {
        let event = json!({
            "title": "One of many",
            "start_time": "2030-05-01T10:00:00Z",
            "end_time": "2030-05-01T11:00:00Z",
        });
        let (status, body) = self
            .user
            .try_call(Method::POST, "/events", Some(event))
            .await
            .ok()?;
        match body["id"].as_i64() {
            Some(id) if status.is_success() => {
                let mut story = Story::new(id);
                story.recorded = usize::from(status != StatusCode::ACCEPTED);
                self.stories.push(story);
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {}
            _ => self
                .complaints
                .push(format!("making an event was answered {status} {body}")),
        }
        Some(())
    }

    async fn call_off(&mut self) -> Option<()> {
        let story = self.stories.last_mut()?;
        let step = ("canceled", None);
        story.open = Some(step);
        let path = format!("/events/{}/cancel", story.event);
        let (status, body) = self
            .user
            .try_call(Method::POST, &path, Some(json!({ "reason": "rain" })))
            .await
            .ok()?;
        match answer(status, &body, false) {
            Some(Answer::Done { recorded }) => story.add(step, recorded),
            Some(Answer::Open) => {}
            Some(Answer::Before) | None => {
                self.complaints.push(format!(
                    "calling off event {} was answered {status} {body}",
                    story.event
                ));
                return None;
            }
        }
        Some(())
    }
}
