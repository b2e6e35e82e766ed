//! `callvault pause` and `callvault resume`: leave a PBX alone for a while.

use std::path::Path;
use std::process::ExitCode;

use super::handover;
use crate::service::requests::Request;

/// Leaves a PBX alone until it is resumed.
pub async fn pause(config: &Path, pbx: String, json: bool) -> ExitCode {
    handover::run(config, Request::Pause(pbx), json).await
}

/// Lets a PBX be followed again.
pub async fn resume(config: &Path, pbx: String, json: bool) -> ExitCode {
    handover::run(config, Request::Resume(pbx), json).await
}
