//! The bounded bytes that wait for one socket.
//!
//! All that is told to a socket goes through its one outbox, in one order. It
//! never waits: when its limit is passed the client is slow, what waits is
//! dropped, and the socket is closed (4002); the client catches up when it
//! comes back. How bytes reach the socket is hidden in here.

use std::{collections::VecDeque, io::IoSlice, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    protocol::{CloseCode, frame},
    told::Progress,
};

/// Buffers handed to the kernel in one call; Linux takes at most 1,024.
const BUFFERS_PER_WRITE: usize = 64;

/// How long a socket that is closed may take nothing of what still waits for it ...
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// ... and how long all of that may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes waiting for one socket. Clones share them.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    queue: Mutex<Queue>,
    /// Told when there is something to write.
    filled: Notify,
    /// Told when something was written.
    drained: Notify,
    /// Told when the outbox is closed.
    ended: Notify,
}

#[derive(Default)]
struct Queue {
    /// Each with the seq up to which its client has been told once it is written, or 0.
    frames: VecDeque<(Bytes, u64)>,
    /// Is told of those seqs.
    progress: Option<Progress>,
    /// Bytes of `frames` that are not written yet.
    bytes: usize,
    /// Bytes of the first frame that are written.
    written: usize,
    /// Frames, from the first on, that a write in progress may be taking.
    lent: usize,
    end: Option<CloseCode>,
}

/// The outbox takes nothing more: it is full, or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is closed")]
pub struct Closed;

impl Outbox {
    /// An empty outbox that may hold `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                queue: Mutex::default(),
                filled: Notify::new(),
                drained: Notify::new(),
                ended: Notify::new(),
            }),
        }
    }

    /// Has `progress` hear of every frame that [`Outbox::try_push_through`] named a seq for,
    /// once the socket has taken all of it.
    pub fn report_to(&self, progress: Progress) {
        self.shared.queue.lock().progress = Some(progress);
    }

    /// Queues a whole frame. Never waits.
    ///
    /// # Errors
    /// The outbox is closed, or was full and is closed now as slow.
    pub fn try_push(&self, frame: Bytes) -> Result<(), Closed> {
        self.try_push_through(frame, 0)
    }

    /// [`Outbox::try_push`], with which the client is told a room up to `seq`; 0 is none.
    ///
    /// # Errors
    /// As [`Outbox::try_push`].
    pub fn try_push_through(&self, frame: Bytes, seq: u64) -> Result<(), Closed> {
        let mut queue = self.shared.queue.lock();
        if queue.end.is_some() {
            return Err(Closed);
        }
        if queue.bytes + frame.len() > self.shared.limit {
            queue.abandon();
            queue.end(CloseCode::Slow);
            drop(queue);
            crate::metrics::outbox_full();
            self.notify_end();
            return Err(Closed);
        }
        queue.push(frame, seq);
        drop(queue);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Queues a close frame behind what waits; nothing more is taken. The first code stands.
    pub fn close(&self, code: CloseCode) {
        {
            let mut queue = self.shared.queue.lock();
            if queue.end.is_some() {
                return;
            }
            queue.end(code);
        }
        self.notify_end();
    }

    /// With which code the outbox was closed, if it was.
    pub fn closed(&self) -> Option<CloseCode> {
        self.shared.queue.lock().end
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().bytes
    }

    /// Returns once the outbox is closed.
    pub async fn ended(&self) -> CloseCode {
        loop {
            let ended = self.shared.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(code) = self.closed() {
                return code;
            }
            ended.await;
        }
    }

    /// Returns once less than a quarter of the limit waits, or the outbox is closed:
    /// the moment to queue another large answer.
    pub async fn has_room(&self) {
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.waiting() < self.shared.limit / 4 || self.closed().is_some() {
                return;
            }
            drained.await;
        }
    }

    /// Writes what is queued to `socket` until the close frame is out. Returns the code
    /// it closed with.
    ///
    /// A socket that takes nothing for `stall` is slow; one that fails is gone. Once the outbox
    /// is closed, the socket has 2 s for each step and 10 s in all.
    pub async fn write_to(&self, socket: impl AsyncWrite + Unpin, stall: Duration) -> CloseCode {
        let overdue = async {
            self.ended().await;
            sleep(CLOSE_DEADLINE).await;
        };
        tokio::select! {
            code = self.write_all_to(socket, stall) => code,
            () = overdue => {
                self.give_up(CloseCode::Slow);
                self.closed().unwrap_or(CloseCode::Slow)
            }
        }
    }

    async fn write_all_to(&self, mut socket: impl AsyncWrite + Unpin, stall: Duration) -> CloseCode {
        let stalled = async || {
            tokio::select! {
                () = sleep(stall) => {}
                _ = self.ended() => sleep(stall.min(CLOSE_TIMEOUT)).await,
            }
        };
        loop {
            let (batch, end) = {
                let mut queue = self.shared.queue.lock();
                (queue.lend(), queue.end)
            };
            if batch.is_empty() {
                if let Some(code) = end {
                    // The peer may be gone already; there is nobody to tell.
                    let _ = timeout(CLOSE_TIMEOUT, socket.shutdown()).await;
                    return code;
                }
                self.shared.filled.notified().await;
                continue;
            }
            let slices: Vec<IoSlice<'_>> = batch.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let written = tokio::select! {
                biased;
                written = socket.write_vectored(&slices) => Some(written),
                () = stalled() => None,
            };
            match written {
                Some(Ok(written @ 1..)) => {
                    self.shared.queue.lock().advance(written);
                    self.shared.drained.notify_waiters();
                }
                Some(Ok(0) | Err(_)) => {
                    self.give_up(CloseCode::Normal);
                    return self.closed().unwrap_or(CloseCode::Normal);
                }
                None => {
                    self.give_up(CloseCode::Slow);
                    return self.closed().unwrap_or(CloseCode::Slow);
                }
            }
        }
    }

    /// The frames that wait, as a socket would get them.
    #[cfg(test)]
    pub(crate) fn take_frames(&self) -> Vec<Bytes> {
        let mut queue = self.shared.queue.lock();
        queue.bytes = 0;
        queue.frames.drain(..).map(|(frame, _)| frame).collect()
    }

    /// Drops what waits: the socket will not take it.
    fn give_up(&self, code: CloseCode) {
        {
            let mut queue = self.shared.queue.lock();
            queue.frames.clear();
            queue.bytes = 0;
            if queue.end.is_none() {
                queue.end = Some(code);
            }
        }
        self.notify_end();
    }

    fn notify_end(&self) {
        self.shared.filled.notify_one();
        self.shared.drained.notify_waiters();
        self.shared.ended.notify_waiters();
    }
}

impl Queue {
    fn push(&mut self, frame: Bytes, seq: u64) {
        self.bytes += frame.len();
        self.frames.push_back((frame, seq));
    }

    fn end(&mut self, code: CloseCode) {
        self.push(frame::close(code), 0);
        self.end = Some(code);
    }

    /// Drops all but the frames that may be on their way: the next one must start where they end.
    fn abandon(&mut self) {
        self.frames.truncate(self.lent.max(usize::from(self.written > 0)));
        self.bytes = self.frames.iter().map(|(frame, _)| frame.len()).sum::<usize>() - self.written;
    }

    fn lend(&mut self) -> Vec<Bytes> {
        self.lent = self.frames.len().min(BUFFERS_PER_WRITE);
        let mut frames = self.frames.iter().map(|(frame, _)| frame).take(self.lent);
        let first = frames.next().map(|frame| frame.slice(self.written..));
        first.into_iter().chain(frames.cloned()).collect()
    }

    fn advance(&mut self, written: usize) {
        self.lent = 0;
        self.bytes = self.bytes.saturating_sub(written);
        self.written += written;
        while let Some((frame, seq)) = self.frames.front()
            && self.written >= frame.len()
        {
            if let Some(progress) = &self.progress {
                progress.reach(*seq);
            }
            self.written -= frame.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests;
