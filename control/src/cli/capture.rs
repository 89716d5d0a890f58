//! `capture`: the appliance sends frames as they come, and the file is written here, as its owner's.

use super::client::{Client, ClientError};
use super::session::{Stop, to_json};
use crate::api::paths::{CaptureWish, FilterWish};
use crate::api::view::{self, Direction, PortLabel};
use crate::capture::filter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file name that stands for the output.
const OUTPUT: &str = "-";
/// A capture holds what guests say: nobody else's to read.
const FILE_MODE: u32 = 0o600;

/// What was typed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct CaptureOrder {
    pub(super) target: PortLabel,
    pub(super) direction: Direction,
    pub(super) snaplen: Option<u32>,
    pub(super) packets: Option<u64>,
    pub(super) seconds: Option<u64>,
    pub(super) filter: Option<String>,
    pub(super) file: PathBuf,
}

impl CaptureOrder {
    /// Whether it ends by itself.
    pub(super) fn is_bounded(&self) -> bool {
        self.packets.is_some() && self.seconds.is_some()
    }

    fn wish(&self) -> Result<CaptureWish, String> {
        Ok(CaptureWish {
            target: self.target.clone(),
            direction: self.direction,
            snaplen: self.snaplen,
            packets: self.packets,
            seconds: self.seconds,
            filter: self.filter.as_deref().map(compiled).transpose()?,
        })
    }
}

/// A filter for the appliance.
pub(super) fn compiled(text: &str) -> Result<FilterWish, String> {
    Ok(FilterWish::new(text, &filter::compile(text)?))
}

/// Captures until a limit is reached, somebody stops it, or an interrupt comes. What became of it, unless
/// the frames went to the output.
pub(super) fn run(
    client: &Client,
    order: &CaptureOrder,
    out: &mut dyn Write,
    is_prompt: bool,
) -> Result<Option<view::Capture>, Stop> {
    let wish = to_json(&order.wish()?);
    let is_interrupted = match is_prompt {
        // There an interrupt is for the prompt, or for the whole appliance.
        true => Arc::default(),
        false => interrupts()?,
    };
    let shown = order.file.display();
    // Made before anything is asked for: a file that is there already is not touched.
    let (mut output, mut file);
    let sink: &mut dyn Write = if order.file == Path::new(OUTPUT) {
        output = out;
        &mut output
    } else {
        file = create(&order.file)?;
        &mut file
    };
    let take = |piece: &[u8]| sink.write_all(piece).and_then(|()| sink.flush());
    let should_stop = || is_interrupted.load(Ordering::Relaxed);
    let streamed = client.stream("/v1/capture", wish, take, should_stop, "/v1/capture/stop");
    match streamed {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Err(Stop::OutputClosed);
        }
        Ok(Err(error)) => Err(format!("cannot write {shown}: {error}; the capture has ended"))?,
        Err(refused @ ClientError::Refused(_)) => {
            // Nothing was captured: an empty file would only be in the way of the next try.
            if order.file != Path::new(OUTPUT) {
                let _ = std::fs::remove_file(&order.file);
            }
            return Err(refused.into());
        }
        Err(error) => return Err(error.into()),
    }
    if order.file == Path::new(OUTPUT) {
        return Ok(None);
    }
    Ok(client.read::<Vec<view::Capture>>("/v1/capture", None)?.pop())
}

fn create(file: &Path) -> Result<File, String> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} is there already; name another file, or remove it", file.display())
        }
        _ => format!("cannot make {}: {error}", file.display()),
    })
}

/// Set by the first interrupt; the second ends the program as ever.
fn interrupts() -> Result<Arc<AtomicBool>, String> {
    let flag = Arc::<AtomicBool>::default();
    let interrupt = signal_hook::consts::SIGINT;
    signal_hook::flag::register_conditional_default(interrupt, flag.clone())
        .and_then(|_| signal_hook::flag::register(interrupt, flag.clone()))
        .map_err(|error| format!("cannot wait for an interrupt: {error}"))?;
    Ok(flag)
}
