//! What a contestant sends into a capture file, to be compared.

use crate::replay;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Until enough is recorded.
const LIMIT: Duration = Duration::from_secs(20);
/// Rounds of a capture that are recorded: whoever learns has learned in the last one.
const ROUNDS: usize = 4;

/// A file that frames are being written to.
#[derive(Debug)]
pub struct Record {
    /// Where it is.
    pub path: PathBuf,
}

impl Record {
    /// With nothing of an earlier one left.
    pub fn new(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        Self { path: path.to_owned() }
    }

    /// Waits until enough rounds of what is wanted are there.
    pub fn fill(&self, wanted: &[Vec<u8>]) -> Result<(), String> {
        let bytes: usize = wanted.iter().map(|it| it.len() + replay::RECORD_HEADER_BYTES).sum();
        let bytes = (bytes * ROUNDS) as u64;
        let is_full = || std::fs::metadata(&self.path).is_ok_and(|file| file.len() > bytes);
        if crate::within(LIMIT, is_full) {
            return Ok(());
        }
        Err(format!("{} frames came in {LIMIT:?}", self.read()?.len()))
    }

    /// What has been written whole.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        replay::read_whole(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Whether the end of what comes is one whole round of what is wanted, in order. `pause` stops whoever
    /// writes. The file is gone afterwards.
    pub fn compare(self, wanted: &[Vec<u8>], pause: impl FnOnce()) -> Result<(), String> {
        let filled = self.fill(wanted);
        pause();
        filled.and_then(|()| is_last_round(wanted, &self.read()?))?;
        std::fs::remove_file(&self.path).map_err(|error| error.to_string())
    }
}

/// Whether the end of what came is one whole round of what was wanted, in order, from any frame on.
fn is_last_round(wanted: &[Vec<u8>], came: &[Vec<u8>]) -> Result<(), String> {
    let begin = came.len().checked_sub(wanted.len()).ok_or("too few frames")?;
    let last = &came[begin..];
    let first = last.first().ok_or("no frames")?;
    let Some(at) = wanted.iter().position(|frame| frame == first) else {
        return Err(format!("nobody wanted {first:02x?}; the first wanted is {:02x?}", wanted[0]));
    };
    let expected = wanted.iter().cycle().skip(at);
    match last.iter().zip(expected).find(|(came, wanted)| came != wanted) {
        None => Ok(()),
        Some((came, wanted)) => Err(format!("wanted {wanted:02x?}, came {came:02x?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_anywhere_and_misses_nothing() {
        let wanted: Vec<Vec<u8>> = (0..4).map(|n| vec![n]).collect();
        let came = |numbers: &[u8]| numbers.iter().map(|n| vec![*n]).collect::<Vec<_>>();
        assert_eq!(is_last_round(&wanted, &came(&[1, 3, 0, 1, 2, 3, 0])), Ok(()));
        for wrong in [&[0, 1, 2][..], &[0, 1, 3, 0], &[0, 2, 1, 3], &[0, 1, 2, 9], &[9, 0, 1, 2]] {
            assert!(is_last_round(&wanted, &came(wrong)).is_err(), "{wrong:?}");
        }
    }
}
