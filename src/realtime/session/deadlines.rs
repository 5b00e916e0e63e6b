//! What becomes due while nobody says anything: pings, silence, credentials.

use std::time::{Duration, Instant};

use actix::AsyncContext as _;
use actix_web_actors::ws::WebsocketContext;

use super::Session;
use crate::{domain::time::Micros, realtime::protocol::CloseCode};

impl Session {
    /// Sets the one timer to the next moment at which something is due.
    pub(super) fn watch(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let due = self.check(ctx);
        if let Some(due) = due {
            let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            self.timer = Some(ctx.run_later(wait, Self::watch));
        }
    }

    /// Does what is due, and says when to look again.
    fn check(&mut self, ctx: &mut WebsocketContext<Self>) -> Option<Instant> {
        if self.closing {
            return None;
        }
        let (now, times) = (Instant::now(), &self.shared.session);
        let silent = self.heard + times.timeout;
        if now >= silent {
            self.outbox.close(CloseCode::NoPong);
            return None;
        }
        let credential = match &self.identity {
            None => self.opened + self.shared.limits.auth_timeout,
            Some(identity) => {
                now + until(
                    self.shared.clock.now(),
                    identity.expires_at.plus(times.token_grace),
                )
            }
        };
        if now >= credential {
            let code = if self.identity.is_none() {
                CloseCode::NotAuthenticated
            } else {
                CloseCode::TokenExpired
            };
            self.outbox.close(code);
            return None;
        }
        let mut ping = self.heard.max(self.pinged) + times.heartbeat;
        if now >= ping {
            self.pinged = now;
            ctx.ping(b"");
            ping = now + times.heartbeat;
        }
        Some(ping.min(silent).min(credential))
    }
}

/// How long until `end`; zero when it has passed. Capped at a day: the wall clock may be turned.
fn until(now: Micros, end: Micros) -> Duration {
    let micros = end.0.saturating_sub(now.0).clamp(0, 86_400_000_000);
    Duration::from_micros(micros.unsigned_abs())
}
