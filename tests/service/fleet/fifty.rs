//! Fifty simulated PBXs in one runtime, and an installation that follows them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use callvault::base::digest::Digest;
use callvault::config::pin_line;
use callvault::pbx::Certificate;
use callvault::simulator::{Simulator, SimulatorOptions};
use tokio::runtime::{Builder, Runtime};

use crate::support::program::{Folder, PASSWORD, Pbx};

/// How many there are.
pub(crate) const PBXS: usize = 50;
/// Recordings of each.
pub(crate) const RECORDINGS: u64 = 8;

/// The simulated PBXs. Dropped, they stop.
pub(crate) struct Fleet {
    simulators: Vec<Simulator>,
    pub(crate) runtime: Runtime,
}

/// The id of a PBX in the configuration.
pub(crate) fn id_of(number: usize) -> String {
    format!("pbx-{number:02}")
}

/// How many connections may be open to a PBX.
pub(crate) fn concurrency_of(number: usize) -> usize {
    number % 3 + 1
}

impl Fleet {
    /// Starts them all; `tls` are those with HTTPS.
    pub(crate) fn start(tls: impl Fn(usize) -> bool) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = |number: usize| SimulatorOptions {
            seed: number as u64,
            serial_number: format!("3692234{number:05}"),
            tls: tls(number),
            voicemails: 0,
            ..Pbx::options(RECORDINGS)
        };
        let start = |number| runtime.block_on(Simulator::start(options(number))).unwrap();
        Self { simulators: (0..PBXS).map(start).collect(), runtime }
    }

    /// One of them.
    pub(crate) fn pbx(&self, number: usize) -> &Simulator {
        &self.simulators[number]
    }

    /// An installation that follows all of them, with `keys` for each on top; its sections are in their order.
    pub(crate) fn folder(&self, keys: impl Fn(usize) -> String) -> Folder {
        let folder = Folder::for_pbx("http://127.0.0.1:1");
        folder.edit(|text| {
            let (text, _) = text.split_once("[[pbx]]").unwrap();
            format!("{text}[schedule]\nsweep = \"*/20 * * * * *\"\n")
        });
        for (number, simulator) in self.simulators.iter().enumerate() {
            let pin = simulator.certificate().unwrap().map(|der| Certificate::read(&der).unwrap().key_sha256);
            let keys = format!(
                "concurrency = {}\noutage_patience_s = 0.5\noutage_retry_s_max = 4\n{}\n{}",
                concurrency_of(number),
                pin.map(pin_line).unwrap_or_default(),
                keys(number)
            );
            folder.add_pbx(&id_of(number), &simulator.url(), &keys);
        }
        folder
    }
}

/// Whether the archive holds every recording of `pbx`, byte for byte.
pub(crate) fn is_whole(folder: &Folder, number: usize, pbx: &Simulator) -> bool {
    let mut found = BTreeSet::new();
    collect(&folder.path("archive").join(id_of(number)), &mut found);
    pbx.truth().iter().all(|recording| found.contains(&recording.sha256))
}

fn collect(folder: &Path, found: &mut BTreeSet<Digest>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "wav") {
            found.insert(Digest::of(fs::read(&path).unwrap()));
        }
    }
}

/// Writes a password into a file of its own.
pub(crate) fn write_password(folder: &Folder, file: &str, password: &str) {
    folder.write_password(password);
    fs::copy(folder.path("hq-password"), folder.path(file)).unwrap();
    folder.write_password(PASSWORD);
}
