//! `callvault config check`: everything wrong with the configuration, at once.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{exit, output};
use crate::config::Config;

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    pbx: Vec<&'a str>,
}

/// Checks the configuration; nothing is opened, nobody is asked.
pub fn run(path: &Path, json: bool) -> ExitCode {
    match Config::load(path) {
        Ok(config) => {
            tell(path, &config, json);
            ExitCode::from(exit::COMPLETE)
        }
        Err(errors) => exit::fail(&errors.into(), json),
    }
}

fn tell(path: &Path, config: &Config, json: bool) {
    let pbx: Vec<&str> = config.pbx.iter().map(|pbx| &*pbx.id).collect();
    if json {
        return exit::print_json(&Checked { file: path.display().to_string(), pbx });
    }
    output::line(format_args!("{}: nothing is wrong with it.", path.display()));
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
}
