//! `top`: rates of guests and ports, drops, and the load of workers, drawn anew again and again.
//!
//! The numbers are the API's (`/v1/counters`), read at one time each, and so is the time between two readings: how
//! long an answer took, or the client stood still, does not blur a rate.

mod draw;
mod rates;
#[cfg(test)]
mod tests;

use super::canvas::{Canvas, Typed};
use super::client::Client;
use super::session::Stop;
use super::terminal::Process;
use crate::api::view::Counters;
use draw::Picture;
use rates::Rates;
use std::time::{Duration, Instant};

/// What it reads.
pub(super) const PATH: &str = "/v1/counters";

/// How long one answer may keep the keys waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Draws until its reader has enough.
///
/// # Errors
/// The appliance doesn't answer at the start (later it is asked again), or the terminal can't be drawn on.
pub(super) fn run(client: &Client, every: Duration, process: Process) -> Result<(), Stop> {
    let mut last: Counters = client.read(PATH, Some(PATIENCE))?;
    let mut picture = Picture::new(every);
    picture.show(Rates::between(None, &last), &last);
    let mut canvas = Canvas::take(process)?;
    let mut due = Instant::now() + every;
    loop {
        canvas.draw(|frame| picture.draw(frame))?;
        match canvas.next(due.saturating_duration_since(Instant::now()))? {
            Typed::Key(key) if !picture.key(key) => return Ok(()),
            Typed::Leave => return Ok(()),
            _ => {}
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + every;
        match client.read::<Counters>(PATH, Some(PATIENCE)) {
            Ok(now) => {
                picture.show(Rates::between(Some(&last), &now), &now);
                last = now;
            }
            Err(error) => picture.miss(error.to_string()),
        }
    }
}
