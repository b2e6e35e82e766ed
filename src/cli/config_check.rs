//! `callvault config check`: everything wrong with the configuration, at once.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{exit, output};
use crate::config::{AlertsConfig, Config, ExclusionRule, MustRecord};
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

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    pbx: Vec<&'a str>,
}

/// Checks the configuration, and that its files are open to nobody else; nothing is opened, nobody is asked.
pub(super) fn run(path: &Path, Command::Check { json }: Command) -> ExitCode {
    let checked = Config::load_to_check(path).and_then(|config| exposure::check(&config).map(|()| config));
    match checked {
        Ok(config) => {
            print(path, &config, json);
            ExitCode::from(exit::COMPLETE)
        }
        Err(errors) => exit::fail(&errors.into(), json),
    }
}

fn print(path: &Path, config: &Config, json: bool) {
    let pbx: Vec<&str> = config.pbx.iter().map(|pbx| &*pbx.id).collect();
    if json {
        return exit::print_json(&Checked { file: path.display().to_string(), pbx });
    }
    output::line(format_args!("{}: the configuration is correct.", path.display()));
    output::line(format_args!("  archive  {}", config.archive.path.display()));
    output::line(format_args!("  state    {}", config.state.path.display()));
    for pbx in &config.pbx {
        output::line(format_args!(
            "  pbx      {}: {} as {}, API {}, {} connections, password from {}",
            pbx.id,
            pbx.url,
            pbx.username,
            pbx.api_version.segment,
            pbx.concurrency,
            pbx.password_source.display()
        ));
    }
    for rule in &config.exclude {
        output::line(format_args!("  exclude  {}", rule.name));
    }
    for rule in &config.must_record {
        let reason = rule.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        output::line(format_args!("  must be recorded  {}{reason}", shown(rule)));
    }
    for webhook in &config.feed.webhook {
        let host = webhook.webhook.url.host();
        output::line(format_args!("  feed     webhook `{}` at {host}", webhook.name));
    }
    print_alerts(&config.alerts);
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

/// Who hears of it when something is wrong; of addresses that may hold a token, the host alone.
fn print_alerts(alerts: &AlertsConfig) {
    for webhook in &alerts.webhook {
        output::line(format_args!("  alerts   webhook at {}", webhook.url.host()));
    }
    if let Some(email) = &alerts.email {
        let to: Vec<String> = email.to.iter().map(ToString::to_string).collect();
        output::line(format_args!("  alerts   mail to {} over {}:{}", to.join(", "), email.host, email.port));
    }
    if let Some(ping) = &alerts.ping_url {
        output::line(format_args!("  alerts   ping to {}", ping.host()));
    }
}
