//! The architecture as a test: which floor may use which, and who owns which outside thing.
//!
//! `cargo test --test architecture -- --nocapture` prints the floors and the arrows between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The floors of `src` in reading order, each with what it is. A floor uses those of earlier lines, and none of its own line
/// or of later ones.
const FLOORS: &[&[(&str, &str)]] = &[
    &[("base", "plain values and pure rules")],
    &[("formats", "what outlives the program: writer and reader of each format; no I/O, no SQL, no clock")],
    &[("config", "what the operator chose, with all mistakes shown at once")],
    &[
        ("store", "all SQL, one module for each group of tables"),
        ("archive", "the only code that touches recordings on disk"),
        ("pbx", "the only code that speaks to PBXs, one folder for each family"),
        ("outbound", "bounded HTTP and mail to addresses of the operator"),
    ],
    &[("vault", "state directory and archive, opened together; snapshots, backups, exposure")],
    &[("pipeline", "from what a PBX lists to what is archived: sweep, worker, gate, forecast")],
    &[("proof", "seal, notary, anchors, certificates, verification, rebuild, export")],
    &[("watch", "the state of everything, alerts, coverage")],
    &[("http", "the listener: health, metrics, feed")],
    &[("service", "the long-running process; backfills; requests of commands")],
    &[(
        "simulator",
        "the PBX to rehearse with; it uses `base` only, so that a misreading cannot hide in both",
    )],
    &[("cli", "one file for each command; what people read; exit codes")],
];

/// The largest number of entries in `src`, beside `lib.rs` and `main.rs`.
const ENTRIES_MAX: usize = 15;

/// Who may mention which outside thing.
const OWNERS: &[(&str, &[&str])] = &[
    ("reqwest::", &["outbound"]),
    ("lettre::", &["outbound", "config"]),
    ("hyper::", &["pbx"]),
    ("hyper_util::", &["pbx"]),
    ("openssl::", &["pbx"]),
    ("governor::", &["pbx"]),
    ("flate2::", &["pbx", "simulator"]),
    ("tokio_cron_scheduler::", &["service"]),
    ("sd_notify::", &["service"]),
    ("chrono::", &["base", "service"]),
    ("sqlx::query", &["store"]),
    ("rustls::", &["proof", "config", "outbound", "pbx", "simulator", "http"]),
    ("x509_parser::", &["proof", "pbx"]),
    ("webpki::", &["proof", "pbx"]),
    ("toml_edit::", &["config"]),
    ("axum::", &["http"]),
    ("prometheus_client::", &["http"]),
    ("rustix::fs", &["archive", "base"]),
    ("rustix::io", &["archive"]),
    ("rustix::process", &["base", "cli"]),
    ("OpenOptions", &["archive", "vault", "config"]),
];

/// A source file of the product: where it is, its module (floor and module, such as `store` and `queue`), its text without
/// comments and unit tests.
struct Source {
    path: PathBuf,
    floor: String,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut found = Vec::new();
    collect(src, src, &mut found);
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(src: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(src, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            let text = production(&std::fs::read_to_string(&path).unwrap());
            let names: Vec<String> = path
                .strip_prefix(src)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .filter(|name| name != "mod")
                .collect();
            let module = names.iter().take(2).cloned().collect::<Vec<_>>().join("::");
            found.push(Source { path, floor: names.first().cloned().unwrap_or_default(), module, text });
        }
    }
}

/// The text without its comments and its unit tests.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    name == "tests"
        || name.ends_with("_tests")
        || name == "fake"
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The modules that a text names as `crate::floor::module`; the floor alone where it names an item of the floor itself.
fn used(text: &str) -> BTreeSet<(String, String)> {
    let paths = text.match_indices("crate::").map(|(at, _)| &text[at + "crate::".len()..]);
    paths
        .map(|path| {
            assert!(
                !path.starts_with('{'),
                "write one `use` for each module: use crate::{}",
                path.lines().next().unwrap()
            );
            let mut names = path.split("::").map(|name| {
                name.chars()
                    .take_while(|character| character.is_alphanumeric() || *character == '_')
                    .collect::<String>()
            });
            let floor = names.next().unwrap();
            let inner = names.next().filter(|name| name.starts_with(char::is_lowercase));
            let module = inner.map_or_else(|| floor.clone(), |inner| format!("{floor}::{inner}"));
            (floor, module)
        })
        .collect()
}

/// The line of a floor in [`FLOORS`]; none for `lib` and `main`.
fn rank(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|line| line.iter().any(|(name, _)| *name == floor))
}

#[test]
fn a_floor_uses_only_those_before_it() {
    let mut arrows: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut upward = Vec::new();
    for source in sources() {
        let Some(own) = rank(&source.floor) else { continue };
        for (floor, module) in used(&source.text) {
            let Some(other) = rank(&floor).filter(|_| floor != source.floor) else { continue };
            *arrows.entry((source.floor.clone(), floor.clone())).or_default() += 1;
            if other >= own || source.floor == "simulator" && floor != "base" {
                upward.push(format!("{} uses {module}", source.path.display()));
            }
        }
    }
    let names = FLOORS.iter().map(|line| line.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | "));
    println!("floors:\n  {}", names.collect::<Vec<_>>().join("\n  "));
    println!("arrows, with the number of imports:");
    for ((from, to), imports) in &arrows {
        println!("  {from} -> {to} {imports}");
    }
    println!("imports upward: {}, exemptions: 0", upward.len());
    assert!(upward.is_empty(), "imports that run against the order of the floors:\n{}", upward.join("\n"));
}

#[test]
fn no_module_uses_itself_by_a_detour() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let used = used(&source.text)
            .into_iter()
            .map(|(_, module)| module)
            .filter(|module| *module != source.module);
        uses.entry(source.module.clone()).or_default().extend(used);
    }
    let cycles: Vec<String> = uses.keys().filter_map(|module| way_back(module, &uses)).collect();
    println!("cycles between {} modules: {}", uses.len(), cycles.len());
    assert!(cycles.is_empty(), "modules that use each other:\n{}", cycles.join("\n"));
}

/// A way from a module back to itself.
fn way_back(module: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = vec![module];
    while let Some(at) = next.pop() {
        for to in uses.get(at).into_iter().flatten().map(String::as_str) {
            if to == module {
                let mut way = vec![module, at];
                while let Some(before) =
                    came_from.get(way[way.len() - 1]).filter(|_| way[way.len() - 1] != module)
                {
                    way.push(before);
                }
                way.reverse();
                return Some(way.join(" -> "));
            }
            if !came_from.contains_key(to) {
                came_from.insert(to, at);
                next.push(to);
            }
        }
    }
    None
}

#[test]
fn src_has_no_more_entries_than_a_reader_can_hold() {
    let known: BTreeSet<&str> = FLOORS.iter().flat_map(|line| line.iter().map(|(name, _)| *name)).collect();
    let there: BTreeSet<String> = sources()
        .into_iter()
        .map(|source| source.floor)
        .filter(|floor| floor != "lib" && floor != "main")
        .collect();
    assert_eq!(
        there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "src and the table of floors"
    );
    assert!(there.len() <= ENTRIES_MAX, "{} entries", there.len());
}

#[test]
fn every_outside_thing_has_one_owner() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (thing, owners) in OWNERS {
            if source.text.contains(thing) && !owners.contains(&&*source.floor) {
                wrong.push(format!("{} mentions {thing}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "outside things in the wrong place:\n{}", wrong.join("\n"));
}

/// Where the table stands in `docs/ARCHITECTURE.md`.
const MARKS: (&str, &str) = ("<!-- floors -->\n", "<!-- /floors -->");

/// `CALLVAULT_WRITE=1 cargo test --test architecture` writes it anew.
#[test]
fn the_documents_show_the_floors_as_they_are() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ARCHITECTURE.md"));
    let text = std::fs::read_to_string(path).unwrap();
    let begin = text.find(MARKS.0).expect("the table's place is marked") + MARKS.0.len();
    let end = begin + text[begin..].find(MARKS.1).expect("its end too");
    let table = table();
    if std::env::var_os("CALLVAULT_WRITE").is_some() {
        std::fs::write(path, format!("{}{table}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    assert_eq!(&text[begin..end], table, "run it with CALLVAULT_WRITE=1");
}

/// Each floor with its modules and what it uses, as Markdown.
fn table() -> String {
    let mut uses: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        if let Some((_, inner)) = source.module.split_once("::") {
            modules.entry(source.floor.clone()).or_default().insert(format!("`{inner}`"));
        }
        let floors =
            used(&source.text).into_iter().map(|(floor, _)| floor).filter(|floor| *floor != source.floor);
        let positions = floors.filter_map(|floor| position(&floor));
        let positions: Vec<usize> = positions.collect();
        uses.entry(source.floor).or_default().extend(positions);
    }
    let all: Vec<&(&str, &str)> = FLOORS.iter().copied().flatten().collect();
    let mut text = "\n| floor | what it is | its modules | uses |\n|---|---|---|---|\n".to_owned();
    for (name, what) in &all {
        let modules = modules.get(*name).into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        let uses: Vec<&str> = uses.get(*name).into_iter().flatten().map(|at| all[*at].0).collect();
        writeln!(text, "| `{name}` | {what} | {modules} | {} |", uses.join(", ")).unwrap();
    }
    text + "\n"
}

/// The place of a floor among all.
fn position(floor: &str) -> Option<usize> {
    FLOORS.iter().copied().flatten().position(|(name, _)| *name == floor)
}

/// Of `?` and `?1` in one statement, both are bound to the first argument: an error that no compiler sees.
#[test]
fn no_statement_mixes_numbered_and_plain_parameters() {
    let mut wrong = Vec::new();
    for Source { path, text, .. } in sources() {
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
