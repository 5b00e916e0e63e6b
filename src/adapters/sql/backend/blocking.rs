//! Runs SQLite's calls on threads that may block.
//!
//! diesel-async's own runner panics when a query's future is dropped on a
//! single-threaded runtime, which every actix arbiter is.

use std::{
    error::Error,
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
};

use diesel_async::sync_connection_wrapper::SpawnBlocking;
use futures_util::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use tokio::{runtime::Handle, task::JoinHandle};

/// The runtime on whose blocking threads a connection's calls run: the one it was opened on.
pub struct Blocking(Handle);

impl SpawnBlocking for Blocking {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync + 'static>>>
    where
        R: Send + 'static,
    {
        let (running, ended) = mpsc::channel();
        let task = self.0.spawn_blocking(move || {
            let outcome = task();
            drop(running);
            outcome
        });
        Call { task, ended }.map_err(Box::from).boxed()
    }

    fn get_runtime() -> Self {
        Self(Handle::current())
    }
}

/// One call. Dropped before it has ended, it waits for the end: the pool takes the
/// connection back next, and must find nobody else on it.
struct Call<R> {
    task: JoinHandle<R>,
    /// Hangs up when the call has let go of the connection.
    ended: mpsc::Receiver<()>,
}

impl<R> Future for Call<R> {
    type Output = Result<R, tokio::task::JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().task).poll(cx)
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            // Bounded by SQLite's `busy_timeout`. It never sends: the hang-up is the answer.
            let _ = self.ended.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use diesel_async::sync_connection_wrapper::SpawnBlocking as _;

    use super::Blocking;

    #[tokio::test(flavor = "current_thread")]
    async fn call_that_is_dropped_has_ended_before_the_drop_returns() {
        let (start, waiting) = std::sync::mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let call = Blocking::get_runtime().spawn_blocking({
            let ended = Arc::clone(&ended);
            move || {
                waiting.recv().unwrap();
                ended.store(true, Ordering::SeqCst);
            }
        });
        std::thread::spawn(move || start.send(()).unwrap());
        drop(call);
        assert!(ended.load(Ordering::SeqCst));
    }
}
