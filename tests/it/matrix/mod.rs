//! Who may do what: every role against every route and every command of both sockets. What
//! should be denied is denied with the right status; what should not is not.
//!
//! - here: who they are, and the event that they have to do with.
//! - `routes`: the route table, with a line for each route.
//! - `sockets`: the commands of both versions.

mod routes;
mod sockets;

use std::fmt::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{TestApp, User, until};

/// What somebody is to the service and to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Anonymous,
    Stranger,
    Host,
    Pending,
    Declined,
    Left,
    Removed,
    Suspended,
    Deleted,
    Admin,
}

impl Role {
    /// Those who are denied come first, the host last: what one may do changes the event for
    /// those behind.
    const ALL: [Self; 10] = [
        Self::Anonymous,
        Self::Suspended,
        Self::Deleted,
        Self::Stranger,
        Self::Admin,
        Self::Left,
        Self::Removed,
        Self::Declined,
        Self::Pending,
        Self::Host,
    ];

    /// Whether the credential counts for nothing, or there is none.
    fn is_nobody(self) -> bool {
        matches!(self, Self::Anonymous | Self::Suspended | Self::Deleted)
    }

    /// Whether the event is none of this person's.
    fn is_outside(self) -> bool {
        matches!(self, Self::Stranger | Self::Admin)
    }

    /// Whether this person took part once.
    fn is_former(self) -> bool {
        matches!(self, Self::Left | Self::Removed)
    }
}

/// Everybody, for all events.
struct People {
    host: User,
    stranger: User,
    pending: User,
    declined: User,
    left: User,
    removed: User,
    suspended: User,
    deleted: User,
    admin: User,
    /// Takes part in each event, to be put in and out.
    target: User,
}

impl People {
    async fn new(app: &TestApp) -> Self {
        let user = async |name: &str| app.user(name).await;
        let people = Self {
            host: user("Host").await,
            stranger: user("Stranger").await,
            pending: user("Pending").await,
            declined: user("Declined").await,
            left: user("Left").await,
            removed: user("Removed").await,
            suspended: user("Suspended").await,
            deleted: user("Deleted").await,
            admin: user("Admin").await,
            target: user("Target").await,
        };
        let admin = people.admin.id;
        app.alter(&format!("UPDATE users SET role = 'ADMIN' WHERE id = {admin}"))
            .await;
        people
    }

    /// Takes the last two their accounts, after they took part in something.
    async fn end(&self) {
        let suspend = Some(json!({ "status": "SUSPENDED" }));
        let path = format!("/admin/users/{}/status", self.suspended.id);
        assert_eq!(self.admin.call(Method::PATCH, &path, suspend).await.0, 200);
        assert_eq!(self.deleted.call(Method::DELETE, "/users/me", None).await.0, 200);
        for gone in [&self.suspended, &self.deleted] {
            until("a sign-in's end", async || {
                (gone.call(Method::GET, "/users/me", None).await.0 == 401).then_some(())
            })
            .await;
        }
    }

    fn get(&self, role: Role) -> Option<&User> {
        Some(match role {
            Role::Anonymous => return None,
            Role::Stranger => &self.stranger,
            Role::Host => &self.host,
            Role::Pending => &self.pending,
            Role::Declined => &self.declined,
            Role::Left => &self.left,
            Role::Removed => &self.removed,
            Role::Suspended => &self.suspended,
            Role::Deleted => &self.deleted,
            Role::Admin => &self.admin,
        })
    }

    /// An event to which everybody is what they are called.
    async fn event(&self) -> i64 {
        let event = self.host.create_event("Matrix").await;
        let code = self.host.invite(event).await;
        for guest in [
            &self.pending,
            &self.declined,
            &self.left,
            &self.removed,
            &self.target,
        ] {
            guest.join_by(&code).await;
        }
        let declined = self
            .declined
            .call(Method::POST, &format!("/events/{event}/decline"), None)
            .await;
        assert_eq!(declined.0, StatusCode::OK, "{}", declined.1);
        self.left.remove(&self.left, event).await;
        self.host.remove(&self.removed, event).await;
        event
    }
}

/// What was tried, and what went wrong.
#[derive(Default)]
struct Outcome {
    tried: usize,
    denied: usize,
    wrong: String,
}

impl Outcome {
    fn note(&mut self, what: &str, role: Role, is_denied: bool, expected: &str, got: &str) {
        self.tried += 1;
        self.denied += usize::from(is_denied);
        if expected != got {
            let _ = writeln!(self.wrong, "  {role:?} {what}: {got}, should be {expected}");
        }
    }

    #[expect(clippy::print_stdout, reason = "the size is a result of its own")]
    fn assert_right(&self, what: &str) {
        println!("{what}: {} cells, {} of them denied", self.tried, self.denied);
        assert!(self.wrong.is_empty(), "{what}:\n{}", self.wrong);
    }
}

/// The code of an answer, for messages.
fn code_of(answer: &Value) -> &str {
    answer["code"].as_str().unwrap_or("-")
}
