//! `callvault pause` and `callvault resume`: leave a PBX alone for a while.

use std::path::Path;
use std::process::ExitCode;

use super::{Json, handover};
use crate::service::requests::Request;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The PBX
    pbx: String,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn pause(config: &Path, Options { pbx, json }: Options) -> ExitCode {
    handover::run(config, Request::Pause(pbx), json.json).await
}

pub(super) async fn resume(config: &Path, Options { pbx, json }: Options) -> ExitCode {
    handover::run(config, Request::Resume(pbx), json.json).await
}
