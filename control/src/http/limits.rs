//! Limits on connections: how many, how many of one client, how long a stalled one lives.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What all clients together, and one of them, may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Connections at once of one client, so that a flood of one leaves room for others.
    pub(crate) per_client: usize,
    /// What one client is.
    pub(crate) client: &'static str,
    /// Calls that wait at once; further ones queue.
    pub(crate) calls: usize,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, per_client, client, .. } = self;
        write!(f, "too many connections: {connections} at once, {per_client} of one {client}")
    }
}

/// Who is connected. Touched by the server's thread alone; the lock is never waited for.
pub(super) struct Clients<K> {
    limits: Limits,
    counts: Arc<Mutex<Counts<K>>>,
}

struct Counts<K> {
    all: usize,
    by_client: HashMap<K, usize>,
}

/// One admitted connection; gives its place back when dropped.
pub(super) struct Ticket<K: Eq + Hash> {
    counts: Arc<Mutex<Counts<K>>>,
    client: K,
}

impl<K: Clone + Eq + Hash> Clients<K> {
    /// Nobody yet.
    pub(super) fn new(limits: Limits) -> Self {
        let counts = Counts { all: 0, by_client: HashMap::new() };
        Self { limits, counts: Arc::new(Mutex::new(counts)) }
    }

    /// What they may have.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// A place for a connection of this client, if there is one.
    pub(super) fn admit(&self, client: K) -> Option<Ticket<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = counts.by_client.get(&client).copied().unwrap_or(0);
        if counts.all >= self.limits.connections || of_client >= self.limits.per_client {
            return None;
        }
        counts.all += 1;
        counts.by_client.insert(client.clone(), of_client + 1);
        Some(Ticket { counts: self.counts.clone(), client })
    }
}

impl<K: Eq + Hash> Drop for Ticket<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(of_client) = counts.by_client.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

/// A stream whose writes fail once the other side has taken nothing for a while. Reads are bounded
/// elsewhere: heads by hyper's timeout, bodies where they are collected.
pub(super) struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// Starts or stops the clock by how a write went.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let since = || Box::pin(tokio::time::sleep_until(Instant::now() + patience));
        match self.waiting.get_or_insert_with(since).as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const LIMITS: Limits = Limits { connections: 8, per_client: 5, client: "process", calls: 1 };

    #[test]
    fn one_client_cannot_take_every_place() {
        let clients = Clients::new(LIMITS);
        let flood: Vec<_> = (0..20).filter_map(|_| clients.admit(1)).collect();
        assert_eq!(flood.len(), LIMITS.per_client);
        let others: Vec<_> = (2..20).filter_map(|client| clients.admit(client)).collect();
        assert_eq!(flood.len() + others.len(), LIMITS.connections);
        drop((flood, others));
        assert!(clients.admit(1).is_some());
        assert!(clients.counts.lock().unwrap().by_client.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_in_time() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Impatient::new(ours, Duration::from_secs(30));
        let began = Instant::now();
        let error = ours.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}
