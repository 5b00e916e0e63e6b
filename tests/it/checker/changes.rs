//! Who changes events: each change is repeated, on one node after the other, until it is known what became
//! of it, so that every fact of a story and their order are known beforehand.

use std::time::Duration;

use rand::Rng as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::client::{Client, Until};
use crate::ledger::story::{Answer, Scope, Step, Story, answer};

/// Makes `step` by this call, and says so in `story`; `None` when it is time to go before that is known.
pub(super) async fn change(
    story: &mut Story,
    actor: &mut Client,
    until: Until,
    step: Step,
    (method, path, body): (Method, String, Option<Value>),
) -> Option<()> {
    while !actor.stopped(until) {
        let again = story.open.is_some();
        let Some((status, told)) = actor.call(method.clone(), &path, &[], body.clone()).await else {
            // Also where it was not even sent: what was done already is answered the same.
            story.open = Some(step);
            continue;
        };
        story.open = Some(step);
        match answer(status, &told, again) {
            Some(Answer::Done { recorded }) => {
                story.add(step, recorded);
                return Some(());
            }
            Some(Answer::Before) => {
                story.add(step, false);
                return Some(());
            }
            Some(Answer::Open) => sleep(Duration::from_millis(actor.rng.random_range(20..200))).await,
            None => {
                let event = story.event;
                actor.complain(&format!("{step:?} in event {event} was answered {status} {told}"));
                return None;
            }
        }
    }
    None
}

/// Somebody who cannot make up their mind.
pub(super) struct Answering {
    pub(super) client: Client,
    pub(super) story: Story,
}

impl Answering {
    pub(super) fn new(client: Client, event: i64) -> Self {
        let story = Story::of(event, Scope::Answers(client.user.id));
        Self { client, story }
    }

    /// Answers until it is over.
    pub(super) async fn answer(mut self) -> Self {
        while self.turn(Until::Over).await.is_some() {
            sleep(Duration::from_millis(self.client.rng.random_range(50..400))).await;
        }
        self
    }

    /// Until it is known what became of the last answer.
    pub(super) async fn settle(mut self, until: Until) -> Self {
        while self.story.open.is_some() && self.turn(until).await.is_some() {}
        self
    }

    async fn turn(&mut self, until: Until) -> Option<()> {
        let (event, who) = (self.story.event, Some(self.client.user.id));
        let (name, word) = match self.story.committed.len() % 2 {
            0 => ("accepted", "accept"),
            _ => ("declined", "decline"),
        };
        let path = format!("/events/{event}/{word}");
        let call = (Method::POST, path, None);
        change(&mut self.story, &mut self.client, until, (name, who), call).await
    }
}

/// Somebody who makes events and calls them off.
pub(super) struct Maker {
    pub(super) client: Client,
    pub(super) stories: Vec<Story>,
    /// The titles that were asked for and answered: there is one event of each.
    pub(super) titles: Vec<String>,
    /// What is being made, and the key of that request.
    open: Option<(String, String)>,
}

impl Maker {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            stories: Vec::new(),
            titles: Vec::new(),
            open: None,
        }
    }

    /// Makes events until it is over.
    pub(super) async fn make(mut self) -> Self {
        while self.turn(Until::Over).await.is_some() {
            sleep(Duration::from_millis(self.client.rng.random_range(100..800))).await;
        }
        self
    }

    /// Until it is known what became of everything.
    pub(super) async fn settle(mut self, until: Until) -> Self {
        while self.has_open() && self.turn(until).await.is_some() {}
        self
    }

    fn has_open(&self) -> bool {
        self.open.is_some() || self.stories.last().is_some_and(|story| story.committed.len() < 2)
    }

    async fn turn(&mut self, until: Until) -> Option<()> {
        if let Some(story) = self.stories.last_mut().filter(|story| story.committed.len() < 2) {
            let path = format!("/events/{}/cancel", story.event);
            let call = (Method::POST, path, Some(json!({ "reason": "rain" })));
            return change(story, &mut self.client, until, ("canceled", None), call).await;
        }
        let (title, key) = self
            .open
            .get_or_insert_with(|| (format!("Made {}", Uuid::new_v4()), Uuid::new_v4().to_string()))
            .clone();
        let event = json!({
            "title": title,
            "start_time": "2030-05-01T10:00:00Z",
            "end_time": "2030-05-01T11:00:00Z",
        });
        while !self.client.stopped(until) {
            let headers = [("idempotency-key", key.as_str())];
            let answer = self
                .client
                .call(Method::POST, "/events", &headers, Some(event.clone()));
            match answer.await {
                Some((status, body)) if status.is_success() => {
                    let mut story = Story::new(body["id"].as_i64()?);
                    // A repeated answer says what the first said, which may be that it was pending.
                    story.recorded = usize::from(status != StatusCode::ACCEPTED);
                    self.stories.push(story);
                    self.titles.push(title);
                    self.open = None;
                    return Some(());
                }
                // 409: the first request is still being worked on.
                Some((StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _)) | None => {
                    sleep(Duration::from_millis(self.client.rng.random_range(20..200))).await;
                }
                Some((status, body)) => {
                    self.client
                        .complain(&format!("making an event was answered {status} {body}"));
                    return None;
                }
            }
        }
        None
    }
}
