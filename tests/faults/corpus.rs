//! The fuzzer's seeds and all that it ever found, held against its properties by any compiler, in a few seconds.
//!
//! `tests/fuzz` makes new input up, which takes a nightly compiler and time: `docs/testing.md` says how.

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callvault::base::digest::Digest;

/// The list of all files that must be there.
const SUMS: &str = "SHA256SUMS";
/// Kept small, for it is in the repository.
const BYTES_MAX: usize = 200 << 10;
/// What no input of that size takes, however busy the machine is: then something is worse than linear.
const INPUT_WITHIN: Duration = Duration::from_secs(20);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Every input, by its path below `tests/fuzz`. Past finds are called `find-…`.
fn inputs() -> BTreeMap<String, Vec<u8>> {
    let mut inputs = BTreeMap::new();
    for target in fs::read_dir(folder().join("seeds")).expect("the corpus is there") {
        for input in fs::read_dir(target.unwrap().path()).unwrap() {
            let input = input.unwrap().path();
            let path = input.strip_prefix(folder()).unwrap().to_str().expect("plain names").to_owned();
            inputs.insert(path, fs::read(&input).unwrap());
        }
    }
    inputs
}

#[test]
fn every_property_holds_for_every_seed_and_every_past_find() {
    let inputs = inputs();
    let mut broken = Vec::new();
    for (target, holds) in properties::ALL {
        let ours = inputs.iter().filter(|(path, _)| path.split('/').nth(1) == Some(target));
        let (mut count, begun) = (0, Instant::now());
        for (path, input) in ours {
            let begun = Instant::now();
            // The panic itself is printed by its own hook: here it is only counted.
            if catch_unwind(AssertUnwindSafe(|| holds(input))).is_err() {
                broken.push(path.clone());
            }
            assert!(begun.elapsed() < INPUT_WITHIN, "{path} took {:?}", begun.elapsed());
            count += 1;
        }
        println!("{target}: {count} inputs in {:.2} s", begun.elapsed().as_secs_f64());
        assert!(count > 0, "no seed of {target}");
    }
    assert!(broken.is_empty(), "properties that do not hold for: {broken:#?}");
}

#[test]
fn the_corpus_is_whole_and_small() {
    let listed = fs::read_to_string(folder().join(SUMS)).expect("the list is there");
    let there: String =
        inputs().iter().map(|(path, input)| format!("{}  {path}\n", Digest::of(input))).collect();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (listed, there) = (lines(&listed), lines(&there));
    let differ: Vec<_> = listed.symmetric_difference(&there).collect();
    assert!(differ.is_empty(), "other files than {SUMS} lists (make it anew after adding some): {differ:#?}");
    let bytes: usize = inputs().values().map(Vec::len).sum();
    println!("{} inputs, {bytes} bytes", there.len());
    assert!(bytes <= BYTES_MAX, "{bytes} bytes of corpus");
}

#[test]
fn every_target_has_a_property_and_every_property_a_target() {
    let manifest: toml::Table = fs::read_to_string(folder().join("Cargo.toml")).unwrap().parse().unwrap();
    let bins = manifest["bin"].as_array().unwrap();
    let targets: BTreeSet<&str> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    let properties: BTreeSet<&str> = properties::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(targets, properties);
    for target in targets {
        let source = fs::read_to_string(folder().join(format!("targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("check(\"{target}\", input)")), "{source}");
    }
}
