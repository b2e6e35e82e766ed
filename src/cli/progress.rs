//! Progress of a backfill: bars on a terminal, a line now and then elsewhere. Always on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::{output, summary};
use crate::pipeline::site::{Phase, SiteProgress};
use crate::service::requests::Watcher;

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far several PBXs are.
#[derive(Debug)]
pub(super) struct Display {
    began: Instant,
    next_line: Instant,
    /// On a terminal: the bars, by PBX.
    bars: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
}

impl Display {
    /// A display with nothing on it yet.
    pub(super) fn new() -> Self {
        let began = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        let bars = is_terminal.then(|| (MultiProgress::new(), BTreeMap::new()));
        Self { began, next_line: began + LINE_EVERY, bars }
    }

    /// Shows how far `sites` are now.
    pub(super) fn update(&mut self, sites: &[SiteProgress]) {
        let elapsed = self.began.elapsed();
        if let Some((all, bars)) = &mut self.bars {
            for site in sites {
                let bar = bars.entry(site.pbx.clone()).or_insert_with(|| all.add(new_bar(&site.pbx)));
                bar.set_length(site.owed.max(site.archived));
                bar.set_position(site.archived);
                bar.set_message(message(site, elapsed));
            }
        } else if Instant::now() >= self.next_line {
            self.next_line += LINE_EVERY;
            for site in sites.iter().filter(|site| site.phase != Phase::Done) {
                output::error_line(line(site, elapsed));
            }
        }
    }
}

impl Drop for Display {
    /// Clears what is shown.
    fn drop(&mut self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars.values()) {
            bar.finish_and_clear();
        }
    }
}

impl Watcher for Display {
    fn put_back(&mut self, recordings: u64) {
        output::error_line(format_args!("Asking again for {}.", summary::count(recordings, "recording")));
    }

    async fn progress(&mut self, sites: Vec<SiteProgress>) -> anyhow::Result<()> {
        self.update(&sites);
        Ok(())
    }
}

fn new_bar(pbx: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix:12} {bar:20} {pos}/{len}  {msg}  {elapsed}, {eta} left");
    ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(pbx.to_owned())
}

/// Bytes, rate, and what is being done.
fn message(site: &SiteProgress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown rounded"
    )]
    let (files_s, bytes_s) = (site.archived as f64 / seconds, (site.bytes as f64 / seconds) as u64);
    let failed = match site.failed_attempts {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let phase = match &site.phase {
        Phase::Connecting => ", connecting".to_owned(),
        Phase::Sweeping(day) => format!(", calls of {day}"),
        Phase::Downloading | Phase::Done => String::new(),
    };
    format!("{}, {files_s:.0} files/s, {}/s{failed}{phase}", HumanBytes(site.bytes), HumanBytes(bytes_s))
}

fn line(site: &SiteProgress, elapsed: Duration) -> String {
    let archived = site.archived;
    let owed = site.owed.max(archived);
    let left = owed - archived;
    let eta = match archived {
        0 => String::new(),
        done => {
            let seconds = elapsed.as_secs().saturating_mul(left) / done;
            format!(", about {} left", HumanDuration(Duration::from_secs(seconds)))
        }
    };
    format!("{}: {archived}/{owed} {}{eta}", site.pbx, message(site, elapsed))
}
