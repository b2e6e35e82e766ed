//! The keys that a configuration may hold, and the search for the one that a wrong key meant.

/// Every section with its keys, in the order of `config.example.toml`.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("archive", &["path", "free_bytes_min"]),
    ("state", &["path"]),
    (
        "queue",
        &[
            "order",
            "concurrency_total",
            "retry_base_s",
            "retry_max_s",
            "attempts_max",
            "missing_final_after_days",
        ],
    ),
    ("service", &["stop_timeout_s", "history_days"]),
    (
        "schedule",
        &["timezone", "sweep", "deep_sweep", "voicemail", "seal", "verify", "scrub", "history", "snapshot"],
    ),
    ("verify", &["full_days"]),
    ("snapshots", &["hourly", "daily"]),
    ("push", &["listen"]),
    (
        "pbx",
        &[
            "id",
            "url",
            "api_version",
            "download_api_version",
            "username",
            "password_file",
            "password",
            "timezone",
            "concurrency",
            "allow_plain_http",
            "tls_pin_sha256",
            "tls_backend",
            "tls_version_min",
            "login_port",
            "push",
            "push_url",
            "push_tcp_port",
            "push_from",
            "allowed_ip",
            "connect_timeout_s",
            "reply_timeout_s",
            "cdr_timeout_s",
            "idle_timeout_s",
            "throughput_bytes_s_min",
            "ticket_age_max_s",
            "lockout_wait_s",
            "outage_patience_s",
            "outage_retry_s_max",
            "requests_per_min_max",
            "bytes_s_max",
            "hours",
            "cdr_rows",
            "recording_days",
            "warn_margin_h",
            "recording_bytes_max",
            "cdr_bytes_max",
            "intake_rows_per_day_max",
            "intake_bytes_per_day_max",
            "cdr_api",
            "cdr_folder",
            "cdr_columns",
            "cdr_keep_columns",
            "voicemail",
            "voicemail_status",
            "voicemail_per_extension",
        ],
    ),
    (
        "exclude",
        &["name", "pbx", "extension", "direction", "did", "trunk", "shorter_than_s", "longer_than_s"],
    ),
    ("must_record", &["pbx", "extension", "direction", "did", "trunk", "min_talk_s", "reason"]),
    ("ledger", &["origin", "key_file"]),
    ("anchors", &["every_s", "timeout_s"]),
    ("anchor", &["name", "url", "ca_file", "allow_plain_http"]),
    ("witness", &["url", "vkey"]),
    ("web", &["listen", "hosts", "certificate_file", "key_file", "allow_plain_http"]),
    ("feed", &["enabled", "reader", "webhook"]),
    ("feed.reader", &["name", "token_file", "pbx", "reads_per_min_max"]),
    (
        "feed.webhook",
        &["name", "url", "secret_file", "allow_plain_http", "after", "entries_max", "timeout_s"],
    ),
    (
        "alerts",
        &[
            "timezone",
            "down_after_s",
            "sweep_overdue_after_s",
            "hold_down_s",
            "remind_every_s",
            "digest",
            "digest_hour",
            "free_bytes_warn",
            "keep_trying_days",
            "ping_url",
            "email",
            "webhook",
        ],
    ),
    ("alerts.email", &["host", "port", "tls", "allow_plain_smtp", "username", "password_file", "from", "to"]),
    ("alerts.webhook", &["url", "secret_file", "allow_plain_http"]),
];

/// How alike two words must be (0 to 1) before one is offered for the other.
const LIKENESS_MIN: f64 = 0.75;

/// The keys of `section`, which must be one of [`SECTIONS`].
pub(super) fn of(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// How a section's heading is written: `[queue]`, `[[pbx]]`.
pub(super) fn heading(section: &str) -> String {
    match section {
        "pbx" | "exclude" | "must_record" | "anchor" | "witness" | "feed.reader" | "feed.webhook"
        | "alerts.webhook" => {
            format!("[[{section}]]")
        }
        _ => format!("[{section}]"),
    }
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
    let known = of(section);
    let elsewhere = SECTIONS.iter().find(|(name, keys)| *name != section && keys.contains(&key));
    if let Some((name, _)) = elsewhere {
        return format!("`{key}` belongs below {}", heading(name));
    }
    if section.is_empty() {
        let names = || SECTIONS.iter().map(|(name, _)| *name);
        return match nearest(key, names()) {
            Some(name) => format!("did you mean {}?", heading(name)),
            None => {
                let whole = names().filter(|name| !name.contains('.'));
                format!("the sections are {}", whole.map(heading).collect::<Vec<_>>().join(", "))
            }
        };
    }
    match nearest(key, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("remove it; {} knows {}", heading(section), known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(nearest(word, of("pbx").iter().copied()), expected, "{word}");
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

    #[test]
    fn the_example_explains_every_key_and_no_other() {
        let example = include_str!("../../config.example.toml");
        let mut section = "";
        let mut found: Vec<(&str, &str)> = Vec::new();
        for line in example.lines().map(|line| line.trim_start_matches("# ")) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
            } else if let Some((key, _)) = line.split_once(" = ")
                && !key.contains(' ')
            {
                found.push((section, key));
            }
        }
        for (section, key) in &found {
            assert!(of(section).contains(key), "{section}.{key} is not known");
        }
        let is_section = |name: &str| SECTIONS.iter().any(|(section, _)| *section == name);
        for (section, known) in SECTIONS {
            for key in known.iter().filter(|key| !is_section(&format!("{section}.{key}"))) {
                assert!(found.contains(&(section, key)), "{section}.{key} is not in the example");
            }
        }
    }
}
