//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;

use super::{Json, exit, handover};
use crate::service::requests::{Request, Retry};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only this PBX; also lifts its pause after a refused password or a lock-out, and notes that you have seen its
    /// findings
    #[arg(long, value_name = "ID")]
    pbx: Option<String>,
    /// Only recordings that are stuck
    #[arg(long)]
    stuck: bool,
    #[command(flatten)]
    json: Json,
    /// Only recordings of these names
    names: Vec<OsString>,
}

/// Puts recordings back into the queue and works on it.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    let Options { pbx, stuck, json: Json { json }, names } = options;
    let retry = Retry { pbx, stuck, names: names.into_iter().map(OsString::into_vec).collect() };
    // Before anything is opened or asked.
    if let Err(error) = retry.check() {
        return exit::fail(&error.into(), json);
    }
    handover::run(config, Request::Retry(retry), json).await
}
