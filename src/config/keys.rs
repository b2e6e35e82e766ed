//! The keys that a configuration may hold, and the search for the one that a wrong key meant.

use std::sync::LazyLock;

/// How alike two words must be (0 to 1) before one is offered for the other.
const LIKENESS_MIN: f64 = 0.75;

/// A section with its keys.
pub(super) struct Known {
    /// `[queue]`, or `[[pbx]]` of one that may stand several times.
    pub(super) heading: &'static str,
    pub(super) name: &'static str,
    pub(super) keys: Vec<&'static str>,
}

/// Every section in the order of `config.example.toml`, which explains every key and so is the list of them.
pub(super) static SECTIONS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut sections: Vec<Known> = Vec::new();
    for line in include_str!("../../config.example.toml").lines() {
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            let name = line.trim_matches(['[', ']']);
            if let Some((outer, key)) = name.split_once('.') {
                sections
                    .iter_mut()
                    .filter(|known| known.name == outer)
                    .for_each(|known| known.keys.push(key));
            }
            sections.push(Known { heading: line, name, keys: Vec::new() });
        } else if let (Some(section), Some((key, _))) = (sections.last_mut(), line.split_once(" = "))
            && !key.contains(' ')
        {
            section.keys.push(key);
        }
    }
    sections
});

/// The keys of `section`, which must be one of [`SECTIONS`].
pub(super) fn of(section: &str) -> impl Iterator<Item = &'static str> {
    let sections = SECTIONS.iter().filter(move |known| known.name == section);
    sections.flat_map(|known| known.keys.iter().copied())
}

/// How a section's heading is written: `[queue]`, `[[pbx]]`.
pub(super) fn heading(section: &str) -> &'static str {
    SECTIONS.iter().find(|known| known.name == section).map_or("", |known| known.heading)
}

/// The candidate most like `word`, if any is like it. Case and `-` for `_` do not matter.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let likeness = |candidate: &str| strsim::jaro_winkler(&word, &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

/// What to do about a key that `section` does not have; `""` is the top of the file.
pub(super) fn remedy_for_unknown(key: &str, section: &str) -> String {
    if let Some(other) = SECTIONS.iter().find(|other| other.name != section && other.keys.contains(&key)) {
        return format!("`{key}` belongs below {}", other.heading);
    }
    if section.is_empty() {
        return match nearest(key, SECTIONS.iter().map(|known| known.name)) {
            Some(name) => format!("did you mean {}?", heading(name)),
            None => {
                let mut whole: Vec<_> = SECTIONS.iter().filter(|known| !known.name.contains('.')).collect();
                whole.dedup_by_key(|known| known.name);
                let headings: Vec<&str> = whole.iter().map(|known| known.heading).collect();
                format!("the sections are {}", headings.join(", "))
            }
        };
    }
    match nearest(key, of(section)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            format!("remove it; {} knows {}", heading(section), of(section).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Origin};

    #[test]
    fn the_nearest_word_is_found_or_none() {
        let table = [
            ("concurency", Some("concurrency")),
            ("Idle-Timeout", Some("idle_timeout_s")),
            ("passwort_file", Some("password_file")),
            ("user", Some("username")),
            ("zzz", None),
            ("", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, of("pbx")), expected, "{word}");
        }
    }

    #[test]
    fn a_key_of_another_section_is_sent_there() {
        assert_eq!(
            remedy_for_unknown("concurrency_total", "pbx"),
            "`concurrency_total` belongs below [queue]"
        );
        assert_eq!(remedy_for_unknown("archiv", ""), "did you mean [archive]?");
    }

    /// No value is a list of lists, so whoever reads a key finds a mistake that is not there without it.
    #[test]
    fn every_key_of_the_example_is_read() {
        let is_section = |name: &str| SECTIONS.iter().any(|known| known.name == name);
        let said = |text: &str| {
            let origin = Origin { file: Path::new("c.toml"), mode: 0o600, credentials_directory: None };
            Config::parse(text, &origin).unwrap_err().to_string()
        };
        for Known { heading, name, keys } in SECTIONS.iter() {
            let outer = name.split_once('.').map_or(String::new(), |(outer, _)| format!("[{outer}]\n"));
            for key in keys.iter().filter(|key| !is_section(&format!("{name}.{key}"))) {
                let without = format!("{outer}{heading}\n");
                assert_ne!(
                    said(&without),
                    said(&format!("{without}{key} = [[7]]\n")),
                    "nobody reads {name}.{key}"
                );
            }
        }
    }
}
