//! Everything is logged, every command is given, every kind of reply comes: no secret is told anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use callvault::base::digest::hex;
use md5::{Digest as _, Md5};
use rustix::process::Signal;

use super::feed_reader;
use super::house::House;
use super::places::{self, Reported};
use super::stop::{SetAtEnd, Stop};
use super::{life, planting};
use crate::support::program::{PASSWORD, eventually};
use crate::support::receiver;
use crate::support::search::Search;
use crate::support::supervisor::{Service, Supervision};

/// What the PBXs' password is changed to, with what URLs and JSON escape.
const NEW_PASSWORD: &str = "New-Horse/31+\"&%";
/// One that no PBX ever had.
const WRONG_PASSWORD: &str = "Wrong-Horse-62";
/// One that stands in the configuration itself.
const INLINE_PASSWORD: &str = "Inline-Horse-55";
/// A proxy's, whose use nobody asked for.
const PROXY_PASSWORD: &str = "Proxy-Horse-88";
const PROXY: &str = "http://somebody:Proxy-Horse-88@127.0.0.1:1/";
/// What makes everybody talk.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("CALLVAULT_LOG", "trace"),
    ("RUST_LOG", "trace"),
    ("RUST_BACKTRACE", "full"),
    ("HTTP_PROXY", PROXY),
    ("http_proxy", PROXY),
    ("HTTPS_PROXY", PROXY),
    ("ALL_PROXY", PROXY),
];
/// How many downloads are enough of each PBX.
const SERVED: u64 = 5;
/// How often a request is answered by itself.
const ECHOED: f64 = 0.10;

/// An installation that is being overheard.
struct Overheard {
    house: House,
    told: Vec<Reported>,
}

#[test]
fn with_everything_logged_no_secret_is_told_anywhere() {
    let mut overheard = Overheard { house: House::build("overheard", 77), told: Vec::new() };
    for device in &overheard.house.devices {
        device.pbx.alter_faults(|faults| faults.echo = ECHOED);
    }
    overheard.work();
    overheard.change_passwords();
    overheard.break_the_configuration();
    overheard.rest();
    overheard.judge();
}

impl Overheard {
    fn service(&self) -> Service {
        let supervision = Supervision { environment: ENVIRONMENT, ..Supervision::default() };
        Service::start(&self.house.folder, &supervision).until_ready()
    }

    /// Gives a command, and keeps what it says.
    fn run<S: AsRef<std::ffi::OsStr>>(&mut self, args: &[S]) {
        let mut command = self.house.folder.command(args);
        command.envs(ENVIRONMENT.iter().copied());
        let said = self.house.folder.start(command).wait();
        let args: Vec<String> = args.iter().map(|arg| arg.as_ref().display().to_string()).collect();
        let place = format!("`callvault {}`, which exits {}", args.join(" "), said.code);
        self.told.push(Reported::new(format!("{place}: stdout"), said.stdout));
        self.told.push(Reported::new(format!("{place}: stderr"), said.stderr));
    }

    /// Keeps what a service said that has ended.
    fn hear(&mut self, service: Service) {
        let (said, reports) = service.wait();
        self.told.push(Reported::new(format!("the service, which exits {}: stdout", said.code), said.stdout));
        self.told.push(Reported::new("the service's log", said.stderr));
        let statuses = reports.iter().filter_map(|report| report.get("STATUS"));
        self.told.extend(statuses.map(|status| Reported::new("what the supervisor is told", status)));
    }

    /// The service and the commands beside it, while calls are made; in the end it is killed and started again.
    fn work(&mut self) {
        let mut service = self.service();
        let (calls, stop) = (Stop::default(), Stop::default());
        let house = &self.house;
        std::thread::scope(|scope| {
            let _ends = [SetAtEnd(&calls), SetAtEnd(&stop)];
            scope.spawn(|| life::live(&house.devices, std::time::Duration::from_millis(60), 77, &calls));
            scope.spawn(|| feed_reader::follow(house.web_port, &stop, &house.reader));
            eventually("each PBX has served something", || {
                assert!(!service.has_ended(), "it ended: {}", last_of(&service.so_far()));
                house.devices.iter().all(|device| device.pbx.counters().downloads_ok >= SERVED)
            });
            calls.set();
            eventually("a sum is delivered", || !house.receiver.taken().is_empty());
            eventually("a snapshot is made", || house.folder.path("state/snapshots").exists());
            stop.set();
        });
        self.told.extend(places::process(service.pid().as_raw_nonzero().get()));
        self.told.extend(places::pages(&self.house));
        self.command();
        self.told.extend(places::files(&self.house));
        service.signal(Signal::ABORT);
        self.hear(service);
        let service = self.service();
        service.signal(Signal::TERM);
        self.hear(service);
    }

    /// Every command, also with what it does not know.
    fn command(&mut self) {
        let out = |name: &str| self.house.folder.path(name).to_str().unwrap().to_owned();
        let (folder, zip) = (out("export-folder"), out("export-zip.zip"));
        let (key, name) = (hex(&Md5::digest("nothing")), "nothing.wav");
        let commands: [&[&str]; 24] = [
            &["config", "check"],
            &["config", "check", "--json"],
            &["status"],
            &["status", "--json"],
            &["backfill", "--json", "--pbx", "hq"],
            &["backfill", "--dry-run"],
            &["backfill", "--voicemail", "--pbx", "small"],
            &["retry"],
            &["retry", "--pbx", "tls", "--json"],
            &["retry", name],
            &["pause", "tls"],
            &["resume", "tls", "--json"],
            &["verify"],
            &["verify", "--full", "--json"],
            &["reconcile"],
            &["reconcile", "--json"],
            &["feed"],
            &["export", "--out", &folder],
            &["export", "--zip", "--out", &zip, "--json"],
            &["ledger"],
            &["ledger", "check"],
            &["ledger", "prove", "0"],
            &["trust", "tls"],
            &["trust", "tls", "--fingerprint", &key],
        ];
        for command in commands {
            self.run(command);
        }
        self.run(&["nonsense"]);
    }

    /// The PBXs' password is changed. The service is refused; a wrong one and at last the right one are written.
    fn change_passwords(&mut self) {
        for device in &self.house.devices {
            device.pbx.alter_faults(|faults| {
                faults.password = Some(NEW_PASSWORD.to_owned());
                // Only a login that reaches the PBX is refused by it.
                (faults.echo, faults.errno_30003) = (0.0, 0.0);
            });
            device.pbx.revoke_tokens();
        }
        let service = self.service();
        let refused = |house: &House, times| {
            eventually("every PBX has refused the password", || {
                house.devices.iter().all(|device| device.pbx.counters().logins_refused >= times)
            });
        };
        refused(&self.house, 1);
        self.run(&["status"]);
        self.house.folder.write_password(WRONG_PASSWORD);
        refused(&self.house, 2);
        self.run(&["backfill", "--json"]);
        self.run(&["trust", "tls", "--json"]);
        let before: Vec<u64> =
            self.house.devices.iter().map(|device| device.pbx.counters().logins_ok).collect();
        self.house.folder.write_password(NEW_PASSWORD);
        eventually("every PBX is logged in to again", || {
            let devices = self.house.devices.iter().zip(&before);
            devices.into_iter().all(|(device, before)| device.pbx.counters().logins_ok > *before)
        });
        self.run(&["status", "--json"]);
        service.signal(Signal::TERM);
        self.hear(service);
    }

    /// A configuration with a password in it, and mistakes around it.
    fn break_the_configuration(&mut self) {
        let config = self.house.folder.config();
        let right = fs::read_to_string(&config).unwrap();
        let inline = format!("password = \"{INLINE_PASSWORD}\"");
        let broken = [
            inline.clone(),
            format!("password = \"{INLINE_PASSWORD}"),
            format!("password = {INLINE_PASSWORD}"),
            format!("passwort = \"{INLINE_PASSWORD}\""),
            format!("password = [\"{INLINE_PASSWORD}\"]"),
            format!("password_file = \"hq-password\"\n{inline}"),
            format!("{inline}\n{inline}"),
            format!("username = \"api:{INLINE_PASSWORD}\"\n{inline} #"),
            format!("{inline} {INLINE_PASSWORD}"),
        ];
        for mode in [0o600, 0o644] {
            for section in &broken {
                let url = format!("http://api:{INLINE_PASSWORD}@127.0.0.1:1/?token={INLINE_PASSWORD}");
                for url in [url.as_str(), "http://127.0.0.1:1"] {
                    let text = format!("{right}\n[[pbx]]\nid = \"inline\"\nurl = \"{url}\"\n{section}\n");
                    write_with(&config, &text, mode);
                    self.run(&["config", "check"]);
                    self.run(&["config", "check", "--json"]);
                }
            }
        }
        let feed = format!("http://{}", receiver::TOKEN);
        let hooks = right
            .replace("http://127.0.0.1", &feed)
            .replace("secret_file = \"secret\"", "secret_file = \"hq-password\"");
        write_with(&config, &hooks, 0o600);
        self.run(&["config", "check"]);
        self.run(&["run"]);
        write_with(&config, &right, 0o600);
    }

    /// What is done with the service stopped.
    fn rest(&mut self) {
        self.told.extend(places::files(&self.house));
        self.run(&["ledger", "rotate-key"]);
        self.run(&["rebuild"]);
        self.run(&["rebuild", "--json"]);
        self.run(&["verify", "--full"]);
        self.run(&["demo", "--dir", self.house.folder.path("demo").to_str().unwrap()]);
        self.told.extend(places::files(&self.house));
        self.told.extend(places::sent(&self.house));
    }

    /// Everything that was issued or given, by its name.
    fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let mut secrets: Vec<(String, Vec<u8>)> = Vec::new();
        for secret in self.house.secrets() {
            secrets.push((secret.clone(), secret.into_bytes()));
        }
        for password in [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, INLINE_PASSWORD, PROXY_PASSWORD] {
            secrets.push((password.to_owned(), password.as_bytes().to_vec()));
            secrets.push((format!("MD5 of {password}"), hex(&Md5::digest(password)).into_bytes()));
        }
        for key in self.house.keys() {
            secrets.push(("a key of the state".to_owned(), key));
        }
        secrets
    }

    fn judge(&self) {
        let secrets = self.secrets();
        let search = Search::new(secrets.iter().map(|(name, secret)| (name.as_str(), secret.as_slice())));
        let bytes: usize = self.told.iter().map(|told| told.bytes.len()).sum();
        println!(
            "{} secrets in {} forms are looked for in {} places, {bytes} bytes",
            secrets.len(),
            search.len(),
            self.told.len()
        );
        let mut found: Vec<String> = Vec::new();
        for told in &self.told {
            // The environment of a process holds what the test put there.
            let is_environment = told.place.ends_with("/environ");
            let names = search.find_in(&told.bytes).into_iter();
            let names = names.filter(|name| !(is_environment && name.starts_with(PROXY_PASSWORD)));
            found.extend(names.map(|name| format!("{}: {name}", told.place)));
        }
        assert!(found.is_empty(), "{found:#?}");
        planting::finds_each(&self.house, &search, &secrets);
    }
}

fn last_of(log: &str) -> &str {
    let last = log.len().saturating_sub(20_000);
    &log[log.ceil_char_boundary(last)..]
}

fn write_with(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}
