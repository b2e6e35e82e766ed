//! Progress of a backfill: bars on a terminal, a line now and then elsewhere. Always on stderr.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::output;
use crate::backfill::{Backfill, BackfillReport, Phase, Site};

const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Runs a backfill and shows how it goes.
pub async fn watch(backfill: &Backfill<'_>) -> anyhow::Result<BackfillReport> {
    let run = backfill.run();
    tokio::pin!(run);
    let mut display = Display::new(backfill.sites());
    loop {
        tokio::select! {
            report = &mut run => {
                display.finish();
                return report;
            }
            () = tokio::time::sleep(REDRAW_EVERY) => display.update(),
        }
    }
}

enum Display {
    Bars { bars: Vec<(Arc<Site>, ProgressBar)> },
    Lines { sites: Vec<Arc<Site>>, began: Instant, next: Instant },
}

impl Display {
    fn new(sites: &[Arc<Site>]) -> Self {
        if !std::io::stderr().is_terminal() {
            let began = Instant::now();
            return Self::Lines { sites: sites.to_vec(), began, next: began + LINE_EVERY };
        }
        let style =
            ProgressStyle::with_template("{prefix:12} {bar:20} {pos}/{len}  {msg}  {elapsed}, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        let all = MultiProgress::new();
        let bar = |site: &Arc<Site>| {
            let bar =
                all.add(ProgressBar::new(0).with_style(style.clone()).with_prefix(site.id().to_owned()));
            (site.clone(), bar)
        };
        Self::Bars { bars: sites.iter().map(bar).collect() }
    }

    fn update(&mut self) {
        match self {
            Self::Bars { bars } => {
                for (site, bar) in bars {
                    let snapshot = site.snapshot();
                    bar.set_length(u64::try_from(site.owed()).unwrap_or(0).max(snapshot.archived));
                    bar.set_position(snapshot.archived);
                    bar.set_message(message(site, bar.elapsed()));
                }
            }
            Self::Lines { sites, began, next } => {
                if Instant::now() < *next {
                    return;
                }
                *next += LINE_EVERY;
                for site in sites.iter().filter(|site| site.phase() != Phase::Done) {
                    output::error_line(line(site, began.elapsed()));
                }
            }
        }
    }

    fn finish(&mut self) {
        if let Self::Bars { bars } = self {
            for (_, bar) in bars {
                bar.finish_and_clear();
            }
        }
    }
}

/// Bytes, rate, and what is being done.
fn message(site: &Site, elapsed: Duration) -> String {
    let snapshot = site.snapshot();
    let seconds = elapsed.as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "shown rounded"
    )]
    let (files_s, bytes_s) = (snapshot.archived as f64 / seconds, (snapshot.bytes as f64 / seconds) as u64);
    let failed = match snapshot.failed_attempts {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let phase = match site.phase() {
        Phase::Connecting => ", connecting".to_owned(),
        Phase::Sweeping(day) => format!(", calls of {day}"),
        Phase::Downloading | Phase::Done => String::new(),
    };
    format!("{}, {files_s:.0} files/s, {}/s{failed}{phase}", HumanBytes(snapshot.bytes), HumanBytes(bytes_s))
}

fn line(site: &Site, elapsed: Duration) -> String {
    let archived = site.snapshot().archived;
    let owed = u64::try_from(site.owed()).unwrap_or(0).max(archived);
    let left = owed - archived;
    let eta = match archived {
        0 => String::new(),
        done => {
            let seconds = elapsed.as_secs().saturating_mul(left) / done;
            format!(", about {} left", HumanDuration(Duration::from_secs(seconds)))
        }
    };
    format!("{}: {archived}/{owed} {}{eta}", site.id(), message(site, elapsed))
}
