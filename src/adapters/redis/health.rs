//! Whether the server answers, as this node last saw it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::metrics;

/// Shared by everyone who asks the server.
pub(super) struct Health {
    answers: watch::Sender<bool>,
    generation: AtomicU64,
}

impl Health {
    /// Taken to answer until it is known better.
    pub(super) fn new() -> Self {
        metrics::engine_answers("redis", true);
        Self {
            answers: watch::Sender::new(true),
            generation: AtomicU64::new(0),
        }
    }

    /// Whether it answered when last asked.
    pub(super) fn answers(&self) -> bool {
        *self.answers.borrow()
    }

    /// Connections of an earlier generation are not used any more.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A connection of `generation` broke: the others of its time are likely dead as well.
    pub(super) fn broke(&self, generation: u64) {
        // Somebody else may have noticed before; that generation is over already then.
        let _ =
            self.generation
                .compare_exchange(generation, generation + 1, Ordering::AcqRel, Ordering::Acquire);
    }

    /// It does not answer. Told once, until it does again.
    pub(super) fn went(&self, why: &(dyn std::error::Error + 'static)) {
        let changed = self
            .answers
            .send_if_modified(|answers| std::mem::replace(answers, false));
        if changed {
            metrics::engine_answers("redis", false);
            tracing::warn!(
                error = why,
                "redis does not answer: presence is empty, limits count per node, codes are refused"
            );
        }
    }

    /// It answers.
    pub(super) fn came(&self) {
        let changed = self
            .answers
            .send_if_modified(|answers| !std::mem::replace(answers, true));
        if changed {
            metrics::engine_answers("redis", true);
            tracing::info!("redis answers again");
        }
    }

    /// Returns once it does not answer.
    pub(super) async fn gone(&self) {
        // An error would mean that the sender is gone, which is `self`.
        let _ = self.answers.subscribe().wait_for(|answers| !answers).await;
    }

    /// Returns once it answers.
    pub(super) async fn back(&self) {
        let _ = self.answers.subscribe().wait_for(|answers| *answers).await;
    }
}
