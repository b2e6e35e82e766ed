//! A strict reader of the `OpenMetrics` text format: what Prometheus would refuse or warn of is a panic here.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page: name and labels as written, and the value.
#[derive(Debug)]
pub(crate) struct Page(BTreeMap<String, f64>);

struct Family {
    name: String,
    kind: Option<String>,
    has_help: bool,
    samples: usize,
}

impl Page {
    /// Reads a page. Panics where it breaks a rule.
    pub(crate) fn read(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        let mut known = BTreeSet::new();
        let mut family: Option<Family> = None;
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (what, name) = (words.next().unwrap(), words.next().unwrap());
                let rest = words.next().expect("a comment tells something");
                if family.as_ref().is_none_or(|family| family.name != name) {
                    assert!(family.is_none_or(|family| family.samples > 0), "an empty family before {name}");
                    assert!(known.insert(name.to_owned()), "{name} comes twice");
                    check_name(name);
                    family = Some(Family { name: name.to_owned(), kind: None, has_help: false, samples: 0 });
                }
                let family = family.as_mut().unwrap();
                assert_eq!(family.samples, 0, "{line} comes after the samples");
                match what {
                    "HELP" => family.has_help = !rest.is_empty(),
                    "TYPE" => family.kind = Some(rest.to_owned()),
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{name} is in {rest}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let family = family.as_mut().expect("samples belong to a family");
            let (series, value) = line.rsplit_once(' ').unwrap();
            check_sample(family, series);
            family.samples += 1;
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value.is_finite(), "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
        Self(samples)
    }

    /// The value of a series as it is written, such as `a{b="c"}`.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(|series| series.split('{').next().unwrap()).collect()
    }
}

fn check_name(name: &str) {
    assert!(name.starts_with("callvault_"), "{name}");
    assert!(
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()),
        "{name}"
    );
    assert!(!name.ends_with("_total"), "{name}: families of counters go without");
    assert!(!["_ms", "_minutes", "_kb", "_mb"].iter().any(|unit| name.ends_with(unit)), "{name}: base units");
}

fn check_sample(family: &Family, series: &str) {
    assert!(family.has_help, "{} has no help", family.name);
    let name = series.split('{').next().unwrap();
    match family.kind.as_deref() {
        Some("counter") => assert_eq!(name, format!("{}_total", family.name)),
        Some("gauge") => assert_eq!(name, family.name),
        other => panic!("{} is a {other:?}", family.name),
    }
    let Some((_, labels)) = series.split_once('{') else { return };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{series}"));
    let mut names = BTreeSet::new();
    for label in labels.split("\",").map(|label| label.trim_end_matches('"')) {
        let (name, _) = label.split_once("=\"").unwrap_or_else(|| panic!("{series}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{series}");
        assert!(names.insert(name), "{series}: {name} comes twice");
    }
}
