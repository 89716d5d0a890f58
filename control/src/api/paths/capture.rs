//! A capture as the body of an answer: pcapng, written as frames come.
//!
//! Who asks reads as long as the capture lasts; it ends by its limits, by `capture stop`, or when its client
//! goes. A file is the client's affair, so it belongs to whoever asked. A client that reads slowly misses
//! frames, which are counted; it holds up nobody.

use super::exchange::{Api, Failure, Wish};
use super::mismatch;
use crate::api::backend::{Action, Answer, CaptureFeed, CaptureStart, Filter, Request, Show};
use crate::api::view::{Capture, Direction, PortLabel};
use crate::capture::pcapng::{About, Writer};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dataplane::sight::bpf::{Instruction, Program};
use hyper::body::Bytes;
use hyper::{StatusCode, header};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use utoipa::ToSchema;

/// Bytes kept of each frame where nothing is said.
const SNAPLEN: u32 = 2_048;
/// Fewest and most that may be asked for; the most holds the longest segment that a guest can send.
const SNAPLEN_BOUNDS: std::ops::RangeInclusive<u32> = 60..=65_600;
/// Longest that may be asked for, seconds.
const SECONDS_MAX: u64 = 86_400;
/// Longest text of a filter, bytes.
const FILTER_BYTES_MAX: usize = 4_096;
/// Between two looks for frames. All slots together last for longer at some millions a second.
const NAP: Duration = Duration::from_millis(5);
/// Bytes of one piece of the body.
const PIECE_BYTES: usize = 64 << 10;
/// Between two readings of the wall clock, by which the workers' clock is told, ns.
const CLOCK_EVERY_NS: u64 = 1_000_000_000;

/// What is to be captured.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CaptureWish {
    /// Port or adapter: NAME, GUEST/ADAPTER or network:NET.
    #[schema(value_type = String)]
    pub(crate) target: PortLabel,
    /// Which frames; all where absent.
    #[serde(default)]
    pub(crate) direction: Direction,
    /// Bytes kept of each frame at most, 60 to 65600; 2048 where absent.
    #[serde(default)]
    pub(crate) snaplen: Option<u32>,
    /// Ends after so many frames.
    #[serde(default)]
    pub(crate) packets: Option<u64>,
    /// Ends after so many seconds, 1 to 86400.
    #[serde(default)]
    pub(crate) seconds: Option<u64>,
    /// Which of the frames; all where absent.
    #[serde(default)]
    pub(crate) filter: Option<FilterWish>,
}

/// A filter: what it means, and as instructions.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterWish {
    /// As it was typed; only shown.
    pub(crate) text: String,
    /// Classic BPF as `tcpdump -ddd -y EN10MB FILTER` prints it: code, jump if true, jump if false, constant.
    pub(crate) program: Vec<(u16, u8, u8, u32)>,
}

impl FilterWish {
    /// Of a filter that was compiled.
    pub(crate) fn new(text: &str, program: &[Instruction]) -> Self {
        let line = |one: &Instruction| (one.code, one.if_true, one.if_false, one.k);
        Self { text: text.to_owned(), program: program.iter().map(line).collect() }
    }

    /// Checks it.
    pub(super) fn check(self) -> Result<Filter, Failure> {
        let wrong = |why: String| {
            Failure::client(StatusCode::UNPROCESSABLE_ENTITY, format!("filter: {why}"))
        };
        if self.text.len() > FILTER_BYTES_MAX {
            return Err(wrong(format!("longer than {FILTER_BYTES_MAX} bytes")));
        }
        let line = |(code, if_true, if_false, k)| Instruction { code, if_true, if_false, k };
        let program = Program::new(self.program.into_iter().map(line).collect());
        let program = Arc::new(program.map_err(|bad| wrong(bad.to_string()))?);
        Ok(Filter { text: self.text, program })
    }
}

/// Captures frames of a port or an adapter: the body is pcapng and goes on until a limit is reached, the
/// capture is stopped, or the client goes. What a slow client missed is counted in its last block.
#[utoipa::path(post, path = "/v1/capture", tag = "sight", request_body = CaptureWish,
    responses((status = 200, body = Vec<u8>, content_type = "application/x-pcapng")))]
pub(super) async fn start(State(api): State<Api>, Wish(wish): Wish<CaptureWish>) -> Response {
    match begin(api, wish).await {
        Ok(pump) => {
            let next = |mut pump: Pump| async move {
                let piece = pump.next().await?;
                Some((Ok::<_, Infallible>(Bytes::from(piece)), pump))
            };
            let body = Body::from_stream(futures_util::stream::unfold(pump, next));
            ([(header::CONTENT_TYPE, "application/x-pcapng")], body).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

async fn begin(api: Api, wish: CaptureWish) -> Result<Pump, Failure> {
    let bad = |message: String| Failure::client(StatusCode::UNPROCESSABLE_ENTITY, message);
    let snaplen = wish.snaplen.unwrap_or(SNAPLEN);
    if !SNAPLEN_BOUNDS.contains(&snaplen) {
        let (least, most) = (SNAPLEN_BOUNDS.start(), SNAPLEN_BOUNDS.end());
        return Err(bad(format!("snaplen {snaplen}: want {least} to {most}")));
    }
    if let Some(seconds) = wish.seconds.filter(|seconds| !(1..=SECONDS_MAX).contains(seconds)) {
        return Err(bad(format!("seconds {seconds}: want 1 to {SECONDS_MAX}")));
    }
    if wish.packets == Some(0) {
        return Err(bad("packets 0: want 1 or more".to_owned()));
    }
    let filter = wish.filter.map(FilterWish::check).transpose()?;
    let about = About {
        interface: wish.target.to_string(),
        snap_bytes: snaplen,
        filter: filter.as_ref().map(|filter| filter.text.clone()),
    };
    let writer = Writer::new(&about).map_err(|error| bad(error.to_string()))?;
    let CaptureWish { target, direction, .. } = wish;
    let request = Request::Capture(Box::new(CaptureStart { target, direction, snaplen, filter }));
    let CaptureFeed { number, feed, clock_ns } = match api.call(request).await? {
        Answer::Capture(feed) => feed,
        other => return Err(mismatch(other).into()),
    };
    Ok(Pump {
        until: wish.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        left: wish.packets.unwrap_or(u64::MAX),
        api,
        number,
        feed,
        wall: Wall::new(clock_ns),
        writer,
        is_done: false,
    })
}

/// The workers' clock by the wall clock's time.
struct Wall {
    clock_ns: fn() -> u64,
    /// The wall clock's time, since the Unix epoch, at a time of the workers' clock.
    at: Duration,
    at_ns: u64,
}

impl Wall {
    fn new(clock_ns: fn() -> u64) -> Self {
        let at_ns = clock_ns();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { clock_ns, at, at_ns }
    }

    fn now(&mut self) -> Duration {
        let now_ns = (self.clock_ns)();
        if now_ns.saturating_sub(self.at_ns) > CLOCK_EVERY_NS {
            *self = Self::new(self.clock_ns);
        }
        self.of(now_ns)
    }

    fn of(&self, time_ns: u64) -> Duration {
        match time_ns.checked_sub(self.at_ns) {
            Some(after) => self.at + Duration::from_nanos(after),
            None => self.at.saturating_sub(Duration::from_nanos(self.at_ns - time_ns)),
        }
    }
}

/// Makes the body.
struct Pump {
    api: Api,
    number: u64,
    feed: Arc<dataplane::sight::capture::Feed>,
    wall: Wall,
    writer: Writer,
    until: Option<Instant>,
    /// Frames that it may still have.
    left: u64,
    is_done: bool,
}

impl Pump {
    /// The next piece of the body; none when it is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if self.is_done {
                return None;
            }
            // Asked before the frames are fetched: what is there then is all there is.
            let is_closed = self.feed.is_closed();
            self.fetch(if is_closed { usize::MAX } else { PIECE_BYTES });
            if is_closed {
                return Some(self.finish());
            }
            if self.writer.waiting() > 0 {
                return Some(self.writer.take());
            }
            if self.left == 0 || self.until.is_some_and(|until| Instant::now() >= until) {
                let stop = Request::Act(Action::CaptureStop(Some(self.number)));
                if self.api.call(stop).await.is_err() {
                    // Control is silent or gone; what is there is written.
                    return Some(self.finish());
                }
                continue;
            }
            tokio::time::sleep(NAP).await;
        }
    }

    /// Writes frames until so many bytes wait.
    fn fetch(&mut self, bytes_max: usize) {
        self.wall.now();
        while self.left > 0 && self.writer.waiting() < bytes_max {
            let Some(slot) = self.feed.next() else { return };
            let written = self.writer.frame(&slot, self.wall.of(slot.time_ns));
            self.feed.give_back(slot);
            self.left -= u64::from(written.is_ok());
        }
    }

    fn finish(&mut self) -> Vec<u8> {
        self.is_done = true;
        let (selected, missed) = self.feed.counts();
        let now = self.wall.now();
        // A vector takes everything.
        let _ = self.writer.end(selected, missed, now);
        self.writer.take()
    }
}

impl Drop for Pump {
    /// The client went.
    fn drop(&mut self) {
        if !self.is_done {
            self.api.call_aside(Request::Act(Action::CaptureStop(Some(self.number))));
        }
    }
}

/// The capture that runs, else the last one, if there was any.
#[utoipa::path(get, path = "/v1/capture", tag = "sight",
    responses((status = 200, body = Vec<Capture>)))]
pub(super) async fn show(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Capture), |answer| match answer {
        Answer::Captures(captures) => Ok(captures),
        other => Err(mismatch(other)),
    })
    .await
}

/// Ends the capture that runs.
#[utoipa::path(post, path = "/v1/capture/stop", tag = "sight", responses((status = 204)))]
pub(super) async fn stop(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::CaptureStop(None))).await
}
