//! `callvault config check`: everything wrong with the configuration, at once.

use std::path::Path;
use std::process::ExitCode;

use askama::Template;
use serde::Serialize;

use super::exit;
use crate::config::{Config, ExclusionRule, MustRecord};
use crate::vault::exposure;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show everything that is wrong with the configuration, at once
    Check {
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
}

/// What `--json` prints; the page shows the rest.
#[derive(Serialize, Template)]
#[template(path = "config.txt", whitespace = "preserve")]
struct Checked {
    file: String,
    pbx: Vec<String>,
    #[serde(skip)]
    config: Config,
}

/// Checks the configuration, and that its files are open to nobody else; nothing is opened, nobody is asked.
pub(super) fn run(path: &Path, Command::Check { json }: Command) -> ExitCode {
    let checked = Config::load_to_check(path).and_then(|config| {
        exposure::check(&config)?;
        let pbx = config.pbx.iter().map(|pbx| pbx.id.clone()).collect();
        Ok(Checked { file: path.display().to_string(), pbx, config })
    });
    exit::finish(checked.map_err(Into::into), json, |checked| (format!("{checked}\n"), exit::COMPLETE))
}

/// The conditions of a section, in its own words.
fn shown(rule: &MustRecord) -> String {
    let ExclusionRule { pbx, extension, direction, did, trunk, .. } = &rule.conditions;
    let conditions =
        [("pbx", pbx), ("extension", extension), ("direction", direction), ("did", did), ("trunk", trunk)];
    let given = conditions.iter().filter(|(_, values)| !values.is_empty());
    let said = given.map(|(key, values)| format!("{key} {}", values.join(" or ")));
    format!("{}, from {} s of talk on", said.collect::<Vec<_>>().join(", "), rule.min_talk_s)
}
