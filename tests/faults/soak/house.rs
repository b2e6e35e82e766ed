//! An installation: its PBXs, its configuration with everything on, and those who listen to it.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::device::{DEVICES, Device};
use super::far_sides::{ALERT_SECRET, ALERT_TOKEN, FarSides, MAIL_PASSWORD, PING_TOKEN};
use super::feed_reader::{Reader, TOKEN};
use crate::support::program::Folder;
use crate::support::receiver::{self, Manner, Receiver};

/// An installation.
pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) folder: Folder,
    pub(crate) devices: Vec<Arc<Device>>,
    pub(crate) web_port: u16,
    pub(crate) far_sides: FarSides,
    /// Who is delivered the ledger.
    pub(crate) receiver: Receiver,
    /// Who follows it.
    pub(crate) reader: Mutex<Reader>,
}

impl House {
    /// Builds it; no service runs yet.
    pub(crate) fn build(name: &'static str, seed: u64) -> Self {
        let start = |number| Arc::new(Device::start(number, seed * 10 + number as u64));
        let devices: Vec<Arc<Device>> = (0..DEVICES).map(start).collect();
        let house = Self {
            name,
            folder: Folder::for_pbx("http://127.0.0.1:1"),
            devices,
            web_port: free_port(),
            far_sides: FarSides::start(),
            receiver: Receiver::start(Manner::Fickle(seed)),
            reader: Mutex::default(),
        };
        house.configure();
        house
    }

    fn configure(&self) {
        let files = [
            ("mail-password", MAIL_PASSWORD),
            ("alert-secret", ALERT_SECRET),
            ("secret", receiver::SECRET),
            ("reader-token", TOKEN),
        ];
        for (file, text) in files {
            let file = self.folder.path(file);
            fs::write(&file, format!("{text}\n")).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let dir = self.folder.path("");
        let text = format!(
            "[archive]\npath = \"{0}archive\"\nfree_bytes_min = 0\n[state]\npath = \"{0}state\"\n\
             [queue]\nretry_base_s = 0.1\nretry_max_s = 3\nattempts_max = 100\n\
             [schedule]\nsweep = \"*/5 * * * * *\"\ndeep_sweep = \"30 * * * * *\"\nvoicemail = \"*/5 * * * * *\"\n\
             seal = \"*/5 * * * * *\"\nverify = \"*/20 * * * * *\"\nscrub = \"10,40 * * * * *\"\n\
             history = \"15 * * * * *\"\nsnapshot = \"*/15 * * * * *\"\n\
             [snapshots]\nhourly = 3\ndaily = 1\n[verify]\nfull_days = 1\n\
             [push]\nlisten = \"127.0.0.1:{1}\"\n[web]\nlisten = \"127.0.0.1:{2}\"\n\
             [feed]\nenabled = true\n[[feed.reader]]\nname = \"surveillance\"\ntoken_file = \"reader-token\"\n",
            dir.display(),
            free_port(),
            self.web_port
        );
        let text = text + &self.receiver.section("siem", "timeout_s = 2") + &self.far_sides.sections();
        self.folder.edit(|_| text);
        for device in &self.devices {
            device.configure(&self.folder);
        }
    }
}

impl House {
    /// All that opens something, whoever issued it: what must stay where it is.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        let issued = self.devices.iter().flat_map(|device| device.pbx.secrets());
        let given = [MAIL_PASSWORD, TOKEN, ALERT_TOKEN, PING_TOKEN].map(str::to_owned);
        let signing = [ALERT_SECRET, receiver::SECRET].into_iter();
        let signing = signing.flat_map(|secret| [secret.to_owned(), secret.replace("whsec_", "")]);
        // Alone, the last part of that address is no more than a word.
        let address = format!("/feed/{}", receiver::TOKEN);
        issued.chain(given).chain(signing).chain([address]).collect()
    }

    /// The secrets that the state keeps for itself: of the keys that signed the ledger, and of the one by which refused
    /// passwords are remembered.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        let files = self.folder.files("state").into_iter().filter(|file| is_key(file));
        files
            .map(|file| {
                let bytes = fs::read(file).unwrap();
                // That of the ledger is written in hex.
                std::str::from_utf8(&bytes).map_or_else(|_| bytes.clone(), |text| text.trim().into())
            })
            .collect()
    }
}

/// Whether a file of the state is there to hold a secret.
pub(crate) fn is_key(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "key")
}

/// A port that nobody listens on. It is asked for before the service is, which then takes it again and again.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
