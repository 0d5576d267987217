//! Transfers as people and programs see them.

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tonic::{Response, Status, Streaming};

use crate::{
    berth_wire::{BlobProgress, BlobState, TransferEvent, TransferResult},
    cli::{
        error::{Answer as _, Error},
        json, lookup, print_line, units,
    },
};

const BAR: &str = "{prefix} {bar:30} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {msg}";
const ENDED: &str = "{prefix} {msg}";

/// How a transfer is shown.
#[derive(Debug)]
pub(in crate::cli) enum Display {
    /// A bar for each blob and one for all, on a terminal.
    Bars(Bars),
    /// A line for each blob that has ended.
    Lines,
    /// Each event as a line of JSON on standard output.
    Json,
    /// Not at all.
    Quiet,
}

/// Bars on a terminal, one for all blobs and one for each.
#[derive(Debug)]
pub(in crate::cli) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    blobs: Vec<(ProgressBar, BlobProgress)>,
}

impl Display {
    /// The display for somebody's wishes, and for where the output goes to.
    pub(in crate::cli) fn new(quiet: bool, json: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if json {
            Self::Json
        } else if io::stderr().is_terminal() {
            Self::Bars(Bars::new())
        } else {
            Self::Lines
        }
    }

    /// Shows a transfer to its end and returns its result. `operation` says what was asked, like `pull image web`.
    pub(in crate::cli) async fn show(
        mut self,
        operation: String,
        events: Result<Response<Streaming<TransferEvent>>, Status>,
    ) -> Result<TransferResult, Error> {
        let mut events = events.during(operation.as_str())?;
        loop {
            let event = events.message().await.map_err(|status| Error::call(operation.as_str(), status))?;
            let Some(event) = event else { return Err(Error::Incomplete { operation, missing: "result" }) };
            self.event(&event.blobs)?;
            if let Some(result) = event.result {
                return Ok(result);
            }
        }
    }

    fn event(&mut self, blobs: &[BlobProgress]) -> Result<(), Error> {
        match self {
            Self::Json if !blobs.is_empty() => print_line(&json!({ "blobs": json::array(blobs) }).to_string()),
            Self::Lines => blobs
                .iter()
                .filter_map(line)
                .try_for_each(|line| io::stderr().write_all(format!("{line}\n").as_bytes()).map_err(Error::Output)),
            Self::Bars(bars) => {
                blobs.iter().for_each(|blob| bars.update(blob));
                Ok(())
            }
            Self::Json | Self::Quiet => Ok(()),
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0).with_style(style(BAR)).with_prefix("total        "));
        Self { all, total, blobs: Vec::new() }
    }

    fn update(&mut self, blob: &BlobProgress) {
        let position = usize::try_from(blob.position).unwrap_or(usize::MAX);
        // The engine announces blobs in their order.
        if position == self.blobs.len() {
            let bar =
                ProgressBar::new(blob.size).with_style(style(BAR)).with_prefix(lookup::short_digest(&blob.digest));
            self.blobs.push((self.all.insert_before(&self.total, bar), BlobProgress::default()));
        }
        let Some((bar, known)) = self.blobs.get_mut(position) else { return };
        *known = blob.clone();
        bar.set_position(blob.transferred);
        match outcome(blob) {
            None if blob.transferred == blob.size => bar.set_message("finishing"),
            None => {}
            Some(outcome) => {
                bar.set_style(style(ENDED));
                bar.finish_with_message(outcome);
            }
        }
        let moving = || self.blobs.iter().map(|(_, blob)| blob).filter(|blob| is_moved(blob));
        self.total.set_length(moving().map(|blob| blob.size).sum());
        self.total.set_position(moving().map(|blob| blob.transferred).sum());
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.total.finish_and_clear();
    }
}

/// Whether the blob is one whose bytes are transferred, or will be.
fn is_moved(blob: &BlobProgress) -> bool {
    matches!(blob.state(), BlobState::Waiting | BlobState::Moving | BlobState::Done)
}

/// What has become of a blob; `None` if that is still open.
fn outcome(blob: &BlobProgress) -> Option<String> {
    match blob.state() {
        BlobState::Waiting | BlobState::Moving => None,
        BlobState::Present => Some("is there already".to_owned()),
        BlobState::Mounted => Some("taken from another repository".to_owned()),
        BlobState::Done => Some(format!("done, {}", units::bytes(blob.size))),
    }
}

/// The line for a blob that has ended.
fn line(blob: &BlobProgress) -> Option<String> {
    Some(format!("{} {}", lookup::short_digest(&blob.digest), outcome(blob)?))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(position: u32, size: u64, transferred: u64, state: BlobState) -> BlobProgress {
        let digest = format!("sha256:{}", "a".repeat(64));
        BlobProgress { position, digest, size, transferred, state: state.into() }
    }

    #[test]
    fn only_what_has_ended_has_a_line() {
        assert_eq!(line(&blob(0, 10, 5, BlobState::Moving)), None);
        assert_eq!(line(&blob(0, 2_000_000, 0, BlobState::Done)).as_deref(), Some("aaaaaaaaaaaaa done, 2.00MB"));
        assert!(line(&blob(0, 10, 0, BlobState::Present)).is_some_and(|line| line.ends_with("is there already")));
    }

    #[test]
    fn the_total_is_that_of_the_bytes_that_move() {
        let mut bars = Bars::new();
        bars.all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.update(&blob(0, 100, 0, BlobState::Waiting));
        bars.update(&blob(1, 1000, 0, BlobState::Present));
        bars.update(&blob(0, 100, 40, BlobState::Moving));
        assert_eq!((bars.total.length(), bars.total.position()), (Some(100), 40));
        bars.update(&blob(7, 5, 5, BlobState::Done));
        assert_eq!(bars.blobs.len(), 2, "a position that was left out is nobody's");
    }
}
