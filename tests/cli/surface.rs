//! What scripts depend on: commands and their arguments, exit codes, the members of JSON, metrics, configuration keys and alerts.
//!
//! `surface.txt` holds what the code of commit 6141b10 had, made by its binary with `CALLVAULT_SURFACE_OF=binary`. Nothing of
//! it may go away. What is new is added with `CALLVAULT_SURFACE_OF=` and the path of the new binary.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use callvault::simulator::SimulatorOptions;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::program::{Folder, Pbx, Said, eventually};

/// What was there, one thing a line.
const KNOWN: &str = include_str!("surface.txt");

/// The things that this program has.
struct Surface {
    folder: Folder,
    program: PathBuf,
    lines: BTreeSet<String>,
}

impl Surface {
    fn new(folder: Folder) -> Self {
        let program = std::env::var_os("CALLVAULT_SURFACE_OF")
            .map_or(env!("CARGO_BIN_EXE_callvault").into(), PathBuf::from);
        Self { folder, program, lines: BTreeSet::new() }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let usual = self.folder.command(arguments);
        let mut command = std::process::Command::new(&self.program);
        command.args(arguments).env_clear().current_dir(usual.get_current_dir().unwrap());
        command.env("CALLVAULT_CONFIG", self.folder.config()).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.folder.start(self.command(arguments)).wait()
    }

    /// Runs a command that prints JSON, and notes its exit code and the members.
    fn json(&mut self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        // Options tell one case from another; their values do not.
        let what: Vec<&str> =
            arguments.iter().copied().take_while(|word| !word.contains(['/', '='])).collect();
        let what = what.join(" ").replace(|c: char| c.is_ascii_digit(), "9");
        let json = said.json();
        self.lines.insert(format!("exit {what}: {}", said.code));
        self.members(&format!("json {what}:"), &json);
        json
    }

    fn members(&mut self, path: &str, value: &Value) {
        let kind = match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let is_key = ["hq", "north"].contains(&name.as_str()) || name.starts_with("20");
                    self.members(&format!("{path}.{}", if is_key { "*" } else { name }), member);
                }
                return;
            }
            Value::Array(items) => {
                items.iter().for_each(|item| self.members(&format!("{path}[]"), item));
                "array"
            }
            Value::Null => "absent",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
        };
        self.lines.insert(format!("{path} {kind}"));
    }

    /// Notes the arguments of a command, and those of its own commands.
    fn help(&mut self, of: &[&str]) {
        let text = self.run(&[of, &["--help"]].concat()).exits(0).stdout;
        let name = of.join(" ");
        let mut part = "";
        for line in text.lines() {
            if !line.starts_with(' ') {
                part = line;
            }
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            // Names stand at the beginning of a line, explanations deeper.
            let depth = line.len() - line.trim_start().len();
            match part {
                "Commands:" if depth == 2 && first != "help" => {
                    self.lines.insert(format!("command {name} {first}"));
                    self.help(&[of, &[first]].concat());
                }
                "Arguments:" if depth == 2 => drop(self.lines.insert(format!("argument {name} {first}"))),
                "Options:" if first.starts_with('-') && depth <= 6 => {
                    let option = line.split_whitespace().find(|word| word.starts_with("--")).unwrap();
                    let value = words.find(|word| word.starts_with('<')).unwrap_or_default();
                    self.lines.insert(
                        format!("option {name} {} {value}", option.trim_end_matches(','))
                            .trim_end()
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
    }

    /// Runs the service, and notes the metrics that it shows.
    fn metrics(&mut self) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.folder.edit(|text| format!("{text}[web]\nlisten = \"127.0.0.1:{port}\"\n"));
        let service = self.folder.start(self.command(&["run"]));
        let mut page = String::new();
        eventually("metrics are served", || {
            page = get(port, "/metrics").unwrap_or_default();
            // The PBX that is not there has been asked: the rest is counted from the start.
            page.contains("# EOF") && page.contains("callvault_errors_total{")
        });
        let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        self.lines.extend(kinds.map(|kind| format!("metric {kind}")));
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        for sample in samples {
            let Some((name, labels)) = sample.split_once('{') else { continue };
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
            self.lines.extend(labels.map(|label| format!("label {name} {label}")));
        }
        service.signal(Signal::TERM);
        service.wait().exits(0);
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// An installation to which enough happens that every command has something to say.
fn surface() -> BTreeSet<String> {
    // Days that are over, whatever time it is: they settle, and have certificates.
    let today = callvault::base::clock::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let today = Some(today.checked_sub(jiff::ToSpan::days(4)).unwrap());
    let pbx = Pbx::start(SimulatorOptions { voicemails: 2, days: 2, today, ..Pbx::options(6) });
    let folder = Folder::for_pbx(&pbx.url());
    folder.add_pbx("north", "https://127.0.0.1:1", "outage_patience_s = 0");
    let gone = pbx.truth().pop().unwrap().name;
    pbx.world(|world| world.delete_audio(&gone));
    let mut surface = Surface::new(folder);
    surface.help(&[]);
    surface.json(&["config", "check"]);
    surface.json(&["backfill", "--dry-run"]);
    surface.json(&["backfill", "--voicemail"]);
    for words in [
        "status",
        "reconcile",
        "verify",
        "verify --full",
        "ledger",
        "ledger show",
        "ledger check",
        "ledger prove 1",
    ] {
        surface.json(&words.split(' ').collect::<Vec<_>>());
    }
    for words in
        ["pause hq", "resume hq", "retry", "retry --stuck", "trust hq", "ledger rotate-key", "backup copy"]
    {
        surface.json(&words.split(' ').collect::<Vec<_>>());
    }
    let day = surface.folder.recordings()[0].strip_prefix(surface.folder.path("archive")).unwrap().to_owned();
    let day: Vec<_> = day.iter().skip(1).take(3).map(|part| part.to_str().unwrap()).collect();
    let day = day.join("-");
    surface.json(&["accept", "hq", &day, "--reason", "known"]);
    surface.json(&["export", "--from", &day, "--to", &day, "--out", "bag"]);
    for line in surface.run(&["feed"]).exits(0).stdout.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let what = format!("json feed {}:", entry["type"].as_str().unwrap_or("checkpoint"));
        surface.members(&what, &entry);
    }
    surface.metrics();
    let damaged = surface.folder.recordings().remove(0);
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "RIFF").unwrap();
    surface.json(&["verify", "--full", "--pbx", "hq"]);
    surface.json(&["rebuild"]);
    surface.folder.edit(|text| text + "\n[queue]\nunknown = 1\n");
    surface.json(&["config", "check"]);
    surface.json(&["status"]);
    surface.lines
}

/// Sources of the program, without tests.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn known(kind: &str) -> impl Iterator<Item = &'static str> {
    KNOWN.lines().filter_map(move |line| line.strip_prefix(kind)?.strip_prefix(' '))
}

#[test]
fn nothing_that_scripts_depend_on_goes_away() {
    let now = surface();
    if std::env::var_os("CALLVAULT_SURFACE_OF").is_some() {
        now.iter().for_each(|line| println!("{line}"));
        return;
    }
    let told_otherwise = ["alert ", "key ", "#"];
    let known = KNOWN.lines().filter(|line| !told_otherwise.iter().any(|kind| line.starts_with(kind)));
    let known: BTreeSet<String> = known.map(str::to_owned).collect();
    let (gone, new): (Vec<_>, Vec<_>) = (known.difference(&now).collect(), now.difference(&known).collect());
    assert!(gone.is_empty(), "gone: {gone:#?}\nnew: {new:#?}");
}

/// What the program says of a key of the configuration, given a value that no key takes.
fn problem_with(section: &str, key: &str) -> Option<Value> {
    let folder = Folder::for_pbx("https://192.0.2.1");
    let many = [
        "pbx",
        "exclude",
        "must_record",
        "anchor",
        "witness",
        "feed.reader",
        "feed.webhook",
        "alerts.webhook",
    ];
    let heading = if many.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") };
    fs::write(folder.config(), format!("{heading}\n{key} = 1979-05-27T07:32:00Z\n")).unwrap();
    let json = folder.run(&["config", "check", "--json"]).exits(2).json();
    let problems = json["error"]["problems"].as_array().unwrap();
    let name = format!("{section}.{key}");
    problems.iter().find(|problem| problem["key"] == name).map(|problem| problem["message"].clone())
}

#[test]
fn every_configuration_key_is_still_known() {
    let unknown = problem_with("queue", "no_such_key").expect("an unknown key is a problem");
    let keys: Vec<&str> = known("key").collect();
    assert!(keys.len() > 100, "{} keys", keys.len());
    for key in keys {
        let (section, key) = key.rsplit_once('.').unwrap();
        assert_ne!(problem_with(section, key), Some(unknown.clone()), "[{section}] {key}");
    }
}

#[test]
fn every_alert_still_has_its_name_and_is_explained() {
    let mut code = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&root.join("src"), &mut code);
    let document = fs::read_to_string(root.join("docs/watching.md")).unwrap();
    let mut count = 0;
    for name in known("alert") {
        assert!(code.contains(&format!("\"{name}\"")), "no alert is called {name}");
        assert!(document.contains(&format!("`{name}`")), "docs/watching.md does not explain {name}");
        count += 1;
    }
    assert!(count > 40, "{count} alerts");
}
