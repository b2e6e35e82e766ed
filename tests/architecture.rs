//! The architecture as a test: who may know whom, and who owns which outside thing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules, each with the modules of ours that it may use. An arrow that is not here is a decision to be made.
const MAY_USE: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("clock", &[]),
    ("users", &[]),
    ("salt", &["digest"]),
    ("tlog", &["digest"]),
    ("salted", &["digest", "salt", "tlog"]),
    ("recording", &["digest"]),
    ("message", &["recording"]),
    ("raw_row", &["digest", "recording"]),
    ("bell", &[]),
    ("audio", &[]),
    ("schedule", &[]),
    ("hours", &[]),
    ("config", &["cdr", "db", "digest", "hours", "recording", "schedule", "tlog"]),
    ("cdr", &["digest", "raw_row", "recording", "times"]),
    ("times", &[]),
    ("safe_name", &["digest", "recording"]),
    ("exclusion", &["cdr", "config", "message", "recording"]),
    ("pbx", &["audio", "config", "digest", "message", "recording"]),
    ("push", &["config", "pbx"]),
    ("db", &[]),
    ("fleet", &["digest", "queue", "recording"]),
    ("clocks", &["clock"]),
    ("calls", &["digest", "queue"]),
    ("queue", &["config", "digest", "recording", "salt"]),
    ("voicemail", &["db", "digest", "message", "queue"]),
    ("ledger", &["digest", "recording", "salt", "salted", "tlog"]),
    ("catalog", &["digest", "queue", "recording"]),
    ("findings", &[]),
    ("evidence", &["digest", "ledger", "queue"]),
    ("intake", &["config"]),
    ("coverage", &["calls", "cdr", "config", "db", "exclusion", "findings", "fleet", "recording", "times"]),
    ("fixity", &["catalog", "db", "digest", "recording"]),
    ("owner", &["db"]),
    ("agenda", &["bell", "config", "schedule"]),
    ("scheduler", &["bell"]),
    ("retention", &["db"]),
    ("forecast", &["calls", "catalog", "config", "db", "findings", "fleet", "queue", "retention", "times"]),
    ("outbox", &["db"]),
    ("archive", &["digest", "message", "raw_row", "recording", "salt", "users"]),
    ("state", &["archive", "config", "db", "digest", "fleet", "users"]),
    ("exposure", &["archive", "config", "db", "users"]),
    ("access", &["calls", "clock", "config", "db", "fleet", "pbx", "queue"]),
    (
        "sweep",
        &[
            "access",
            "archive",
            "bell",
            "calls",
            "cdr",
            "clock",
            "clocks",
            "config",
            "db",
            "digest",
            "evidence",
            "exclusion",
            "findings",
            "fleet",
            "intake",
            "message",
            "pbx",
            "queue",
            "recording",
            "safe_name",
            "times",
            "voicemail",
        ],
    ),
    (
        "worker",
        &[
            "access",
            "archive",
            "audio",
            "bell",
            "calls",
            "catalog",
            "clock",
            "config",
            "db",
            "digest",
            "findings",
            "fleet",
            "ledger",
            "message",
            "pbx",
            "queue",
            "raw_row",
            "recording",
            "retention",
            "salt",
            "voicemail",
        ],
    ),
    ("seal", &["archive", "catalog", "db", "digest", "ledger", "queue", "recording", "salted"]),
    ("notary", &["archive", "config", "db", "digest", "fleet", "ledger", "state", "tlog"]),
    ("courier", &["config"]),
    (
        "anchor",
        &[
            "archive",
            "bell",
            "clock",
            "config",
            "courier",
            "db",
            "digest",
            "ledger",
            "notary",
            "recording",
            "tlog",
        ],
    ),
    ("reconcile", &["archive", "calls", "digest", "evidence", "findings", "queue", "recording"]),
    (
        "certificate",
        &[
            "archive",
            "calls",
            "catalog",
            "clock",
            "config",
            "db",
            "digest",
            "evidence",
            "findings",
            "fleet",
            "html",
            "ledger",
            "notary",
            "reconcile",
            "recording",
            "remedy",
            "salt",
            "salted",
            "tlog",
        ],
    ),
    ("html", &["recording"]),
    (
        "export",
        &[
            "anchor",
            "archive",
            "cdr",
            "certificate",
            "digest",
            "html",
            "notary",
            "queue",
            "raw_row",
            "recording",
            "remedy",
            "tlog",
        ],
    ),
    (
        "rebuild",
        &[
            "archive",
            "calls",
            "catalog",
            "cdr",
            "certificate",
            "config",
            "db",
            "digest",
            "findings",
            "fleet",
            "ledger",
            "message",
            "notary",
            "queue",
            "raw_row",
            "recording",
            "retention",
            "safe_name",
            "salt",
            "salted",
            "state",
            "times",
            "tlog",
            "vault",
            "voicemail",
        ],
    ),
    ("snapshot", &["archive", "config", "db"]),
    ("backup", &["archive", "config", "db", "digest", "state", "users"]),
    (
        "vault",
        &[
            "archive",
            "calls",
            "catalog",
            "certificate",
            "clock",
            "clocks",
            "config",
            "digest",
            "fleet",
            "notary",
            "queue",
            "seal",
            "state",
            "sweep",
            "voicemail",
            "worker",
        ],
    ),
    (
        "verify",
        &[
            "anchor",
            "archive",
            "catalog",
            "digest",
            "findings",
            "fixity",
            "ledger",
            "notary",
            "recording",
            "seal",
            "tlog",
            "vault",
        ],
    ),
    (
        "status",
        &[
            "access",
            "anchor",
            "archive",
            "calls",
            "catalog",
            "certificate",
            "clocks",
            "config",
            "db",
            "evidence",
            "exposure",
            "feed",
            "findings",
            "fixity",
            "fleet",
            "forecast",
            "ledger",
            "notary",
            "outbox",
            "owner",
            "queue",
            "recording",
            "snapshot",
            "state",
            "sweep",
            "voicemail",
        ],
    ),
    ("remedy", &["queue"]),
    (
        "alerts",
        &[
            "clock",
            "config",
            "courier",
            "db",
            "digest",
            "exposure",
            "findings",
            "fleet",
            "outbox",
            "recording",
            "remedy",
            "status",
        ],
    ),
    (
        "feed",
        &[
            "archive", "bell", "catalog", "clock", "config", "courier", "db", "digest", "fleet", "ledger",
            "notary",
        ],
    ),
    ("web", &["clock", "config", "db", "feed", "pbx", "queue", "status", "worker"]),
    // The simulator shares no code with the client beyond plain data types, so that a misreading cannot hide in both.
    ("simulator", &["clock", "digest", "recording"]),
];

/// Folders of modules.
const FLOORS: &[&str] = &["base", "formats", "store", "outbound", "pipeline", "proof", "watch", "http"];

/// Modules that stand inside another one.
fn is_on(outer: &str, inner: &str) -> bool {
    match outer {
        "vault" => ["state", "snapshot", "exposure", "backup"].contains(&inner),
        "pbx" => inner == "push",
        "service" => inner == "scheduler",
        _ => false,
    }
}

/// The modules that hold SQL, each the owner of its tables.
const STORES: &[&str] = &[
    "db",
    "fleet",
    "owner",
    "agenda",
    "clocks",
    "calls",
    "queue",
    "ledger",
    "catalog",
    "retention",
    "evidence",
    "intake",
    "findings",
    "fixity",
    "outbox",
    "seal",
    "reconcile",
    "certificate",
    "voicemail",
    "anchor",
    "feed",
    "rebuild",
    "export",
];

/// Who may mention which outside thing.
const OWNERS: &[(&str, &[&str])] = &[
    ("reqwest::", &["alerts", "courier"]),
    ("hyper::", &["pbx"]),
    ("hyper_util::", &["pbx"]),
    ("flate2::", &["pbx", "simulator"]),
    ("lettre::", &["alerts", "config"]),
    ("tokio_cron_scheduler::", &["scheduler"]),
    ("chrono::", &["schedule"]),
    ("sd_notify::", &["service"]),
    ("sqlx::query", STORES),
    ("openssl::", &["pbx"]),
    ("rustls::", &["anchor", "config", "courier", "pbx", "simulator", "web"]),
    ("x509_parser::", &["anchor", "pbx"]),
    ("webpki::", &["anchor", "pbx"]),
    ("toml_edit::", &["config"]),
    ("governor::", &["pbx"]),
    ("axum::", &["web"]),
    ("prometheus_client::", &["web"]),
    ("rustix::fs", &["archive", "filesystem"]),
    ("rustix::io", &["archive"]),
    ("rustix::process", &["main", "users"]),
    ("OpenOptions", &["archive", "state", "config"]),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), None, &mut found);
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(folder: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // A floor is no module: what stands on it is one.
        let module = match module {
            Some(floor) if FLOORS.contains(&floor) => &name,
            Some(floor) if MAY_USE.iter().any(|(inner, _)| *inner == name && is_on(floor, inner)) => &name,
            Some(module) => module,
            None => &name,
        };
        if path.is_dir() {
            collect(&path, Some(module), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((module.to_owned(), path, production(&text)));
        }
    }
}

/// The text without its comments and its unit tests.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    name == "tests"
        || name.ends_with("_tests")
        || name == "fake"
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The modules of ours that a text names, as `crate::name` or within `use crate::{name, …}`.
fn used(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split("};").next().unwrap_or_default();
                let mut depth = 0;
                let mut word = String::new();
                for character in list.chars() {
                    match character {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.extend(first_segment(&std::mem::take(&mut word))),
                        other if depth == 0 => word.push(other),
                        _ => {}
                    }
                }
                names.extend(first_segment(&word));
            }
            None => names.extend(first_segment(rest)),
        }
    }
    names
}

fn first_segment(path: &str) -> Option<String> {
    let mut segments = path.trim_start().split("::").map(|segment| -> String {
        segment.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
    });
    let mut name = segments.next()?;
    if let Some(inner) = segments.next()
        && (FLOORS.contains(&&*name) || is_on(&name, &inner))
    {
        name = inner;
    }
    (!name.is_empty() && name.chars().next().is_some_and(char::is_lowercase)).then_some(name)
}

#[test]
fn modules_know_only_whom_they_may() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else { continue };
        for name in used(&text) {
            if name != module && !allowed.contains(&&*name) && !is_test(&path) {
                wrong.push(format!("{} uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in the table:\n{}", wrong.join("\n"));
}

#[test]
fn every_outside_thing_has_one_owner() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        for (thing, owners) in OWNERS {
            if text.contains(thing) && !owners.contains(&&*module) && !is_test(&path) {
                wrong.push(format!("{} mentions {thing}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "outside things in the wrong place:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_table_or_above_it() {
    let above = ["backfill", "service", "cli", "main", "lib"];
    let unknown: BTreeSet<String> = sources()
        .into_iter()
        .map(|(module, ..)| module)
        .filter(|module| module != "mod")
        .filter(|module| !above.contains(&&**module) && !MAY_USE.iter().any(|(name, _)| name == module))
        .collect();
    assert!(unknown.is_empty(), "modules that the table does not know: {unknown:?}");
}

/// Of `?` and `?1` in one statement, both are bound to the first argument: an error that no compiler sees.
#[test]
fn no_statement_mixes_numbered_and_plain_parameters() {
    let mut wrong = Vec::new();
    for (_, path, text) in sources() {
        for statement in text.split('"').skip(1).step_by(2).filter(|literal| is_sql(literal)) {
            let follows = |at: usize| statement[at + 1..].starts_with(|next: char| next.is_ascii_digit());
            let numbered = statement.match_indices('?').filter(|(at, _)| follows(*at)).count();
            if numbered > 0 && numbered < statement.matches('?').count() {
                wrong.push(format!("{}: {statement}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_sql(literal: &str) -> bool {
    ["select ", "insert ", "update ", "delete "].iter().any(|verb| literal.trim_start().starts_with(verb))
}
