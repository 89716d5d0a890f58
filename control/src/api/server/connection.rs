//! Limits on connections: how many, how many of one process, how long a stalled one lives.

use crate::api::backend::{ErrorBody, Refusal, RefusalKind};
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep};

/// Connections at once.
pub(super) const CONNECTIONS: usize = 256;
/// Connections at once of one process, so that a flood of one leaves room for others.
pub(super) const CONNECTIONS_PER_PROCESS: usize = 64;

/// Who is connected, by process. Touched by the server's thread alone; the lock is never waited for.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    all: usize,
    by_process: HashMap<Option<i32>, usize>,
}

/// One admitted connection; gives its place back when dropped.
pub(super) struct Ticket {
    clients: Clients,
    process: Option<i32>,
}

impl Clients {
    /// A place for a connection of this process, if there is one.
    pub(super) fn admit(&self, process: Option<i32>) -> Option<Ticket> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_process = counts.by_process.get(&process).copied().unwrap_or(0);
        if counts.all >= CONNECTIONS || of_process >= CONNECTIONS_PER_PROCESS {
            return None;
        }
        counts.all += 1;
        counts.by_process.insert(process, of_process + 1);
        Some(Ticket { clients: self.clone(), process })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(of_process) = counts.by_process.get_mut(&self.process) {
            *of_process -= 1;
            if *of_process == 0 {
                counts.by_process.remove(&self.process);
            }
        }
    }
}

/// Says 503 to one connection too many, as far as its buffer takes it, and leaves it.
pub(super) fn turn_away(stream: &UnixStream) {
    let message = format!(
        "too many connections: {CONNECTIONS} at once, {CONNECTIONS_PER_PROCESS} of one process"
    );
    let refusal = Refusal::new(RefusalKind::Unavailable, message);
    let body = serde_json::to_string(&ErrorBody { error: refusal }).unwrap_or_default();
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A fresh connection's buffer takes it whole; a client that is gone needs no answer.
    let _ = stream.try_write(response.as_bytes());
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

    #[test]
    fn one_process_cannot_take_every_place() {
        let clients = Clients::default();
        let flood: Vec<_> = (0..CONNECTIONS).filter_map(|_| clients.admit(Some(1))).collect();
        assert_eq!(flood.len(), CONNECTIONS_PER_PROCESS);
        assert!(clients.admit(Some(2)).is_some());
        drop(flood);
        assert!(clients.admit(Some(1)).is_some());
        assert!(clients.0.lock().unwrap().by_process.is_empty());
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
