//! Whether what was measured is flat.
//!
//! The first quarter is for caches to fill. Of the rest, the median of the last quarter is held against that of the
//! second: it may be larger by a share and by an amount. Medians, for the load is drawn by chance, and one look may fall
//! on a backlog or a snapshot. What grows by its nature is held in the same way against what it grows with: bytes of the
//! database for each recording, lines of the log for each minute. Those two are judged in a long soak only: in half a
//! minute the service does nothing but read and certify the half year before it. Nor are descriptors flat in half a
//! minute: on a busy machine the work is done one after the other in one quarter and at once in the next. There they are
//! held against what everything at once takes; hundreds of requests that each left one open would be far above it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::gauge::{Look, Measure};

/// By how much a measure may be larger at the end.
struct Tolerance {
    measure: Measure,
    name: &'static str,
    share: f64,
    amount: f64,
    /// What one of the unit in the table is.
    unit: f64,
}

const KIB: f64 = 1024.0;

const FLAT: [Tolerance; 7] = [
    Tolerance::of(Measure::Memory, "resident memory, MiB", 0.15, 8.0 * KIB, KIB),
    Tolerance::of(Measure::Heap, "of that anonymous, MiB", 0.15, 8.0 * KIB, KIB),
    Tolerance::of(Measure::Descriptors, "file descriptors", 0.10, 8.0, 1.0),
    Tolerance::of(Measure::Threads, "threads", 0.10, 4.0, 1.0),
    Tolerance::of(Measure::Wal, "write-ahead log, MiB", 0.50, 4.0 * KIB * KIB, KIB * KIB),
    Tolerance::of(Measure::Temporaries, "temporaries", 0.0, 0.0, 1.0),
    Tolerance::of(Measure::StateFiles, "files in the state", 0.0, 4.0, 1.0),
];

/// By how much more the database may grow for each recording at the end than before, and by how many bytes besides.
const DATABASE: (f64, f64) = (0.30, 1024.0);
/// From which length on growth is judged.
const LONG: Duration = Duration::from_secs(300);
/// Open descriptors with everything on and all connections in use: about 48 were seen, after some 1,000 requests.
const DESCRIPTORS_AT_ONCE: f64 = 96.0;
/// By how much the log may be longer in a minute, and by how many lines besides.
const LOG: (f64, f64) = (0.50, 120.0);

impl Tolerance {
    const fn of(measure: Measure, name: &'static str, share: f64, amount: f64, unit: f64) -> Self {
        Self { measure, name, share, amount, unit }
    }
}

/// Prints the table of an installation, and tells what is not flat.
pub(crate) fn judge(house: &str, looks: &[Look]) -> Vec<String> {
    let quarters: Vec<&[Look]> = quarters(looks);
    let is_long = looks.last().is_some_and(|look| look.at > LONG);
    let mut wrong = Vec::new();
    println!("\n{house}: {} looks", looks.len());
    println!(
        "{:<32}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "median of the quarter", "1st", "2nd", "3rd", "4th", "most"
    );
    for tolerance in &FLAT {
        let of = |look: &Look| look.get(tolerance.measure);
        let medians: Vec<f64> = quarters.iter().map(|looks| median(looks.iter().map(of))).collect();
        let most = looks.iter().map(of).fold(0.0, f64::max);
        line(tolerance.name, &medians, most, tolerance.unit);
        let (last, limit) = match tolerance.measure {
            Measure::Descriptors if !is_long => (most, DESCRIPTORS_AT_ONCE),
            _ => (medians[3], medians[1] * (1.0 + tolerance.share) + tolerance.amount),
        };
        if last > limit {
            wrong.push(format!("{house}: {} grew: {medians:?}, at most {limit}", tolerance.name));
        }
    }
    let growth = [judge_database(house, &quarters), judge_log(house, &quarters)];
    if is_long {
        wrong.extend(growth.into_iter().flatten());
    }
    keep(house, looks);
    wrong
}

fn line(name: &str, quarters: &[f64], most: f64, unit: f64) {
    let cells = quarters.iter().chain([&most]).map(|value| format!("{:>10.1}", value / unit));
    println!("{name:<32}{}", cells.collect::<String>());
}

fn quarters(looks: &[Look]) -> Vec<&[Look]> {
    let end = looks.last().map(|look| look.at).unwrap_or_default();
    let at = |quarter: u32| looks.partition_point(|look| look.at < end * quarter / 4);
    (0..4)
        .map(|quarter| &looks[at(quarter)..if quarter == 3 { looks.len() } else { at(quarter + 1) }])
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Bytes of the database for each recording, by least squares.
fn slope(looks: &[Look]) -> f64 {
    let points = || looks.iter().map(|look| (look.get(Measure::Archived), look.get(Measure::Database)));
    let count = looks.len() as f64;
    let (mean_x, mean_y) =
        points().fold((0.0, 0.0), |(x, y), (this_x, this_y)| (x + this_x / count, y + this_y / count));
    let (above, below) = points().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x).powi(2))
    });
    above / below.max(1.0)
}

fn judge_database(house: &str, quarters: &[&[Look]]) -> Option<String> {
    let slopes: Vec<f64> = quarters.iter().map(|looks| slope(looks)).collect();
    line("database, bytes a recording", &slopes, slopes.iter().copied().fold(0.0, f64::max), 1.0);
    let archived: Vec<f64> =
        quarters.iter().filter_map(|looks| Some(looks.last()?.get(Measure::Archived))).collect();
    line("archived at the end of it", &archived, archived.last().copied().unwrap_or_default(), 1.0);
    let sizes: Vec<f64> =
        quarters.iter().filter_map(|looks| Some(looks.last()?.get(Measure::Database))).collect();
    line("database at the end of it, MiB", &sizes, sizes.last().copied().unwrap_or_default(), KIB * KIB);
    let limit = slopes[1] * (1.0 + DATABASE.0) + DATABASE.1;
    (slopes[3] > limit)
        .then(|| format!("{house}: the database grew: {slopes:?} bytes a recording, at most {limit:.0}"))
}

fn judge_log(house: &str, quarters: &[&[Look]]) -> Option<String> {
    let rate = |looks: &&[Look]| -> f64 {
        let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return 0.0 };
        let lines = last.get(Measure::Logged) - first.get(Measure::Logged);
        lines / (last.at - first.at).as_secs_f64().max(1.0) * 60.0
    };
    let rates: Vec<f64> = quarters.iter().map(rate).collect();
    line("lines of the log in a minute", &rates, rates.iter().copied().fold(0.0, f64::max), 1.0);
    let limit = rates[1] * (1.0 + LOG.0) + LOG.1;
    (rates[3] > limit).then(|| format!("{house}: the log grew: {rates:?} lines a minute, at most {limit:.0}"))
}

/// Keeps all looks where the build keeps what tests leave, for who wants to see the course of it.
fn keep(house: &str, looks: &[Look]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{house}.tsv"));
    let text = looks.iter().map(Look::line).collect::<String>();
    fs::write(&file, format!("{}{text}", Look::HEAD)).unwrap();
    println!("all looks: {}", file.display());
}
