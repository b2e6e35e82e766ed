//! `callvault pause` and `callvault resume`: leave a PBX alone for a while.

use std::path::Path;
use std::process::ExitCode;

use super::errand::Errand;
use super::handover;

/// Leaves a PBX alone until it is resumed.
pub async fn pause(config: &Path, pbx: String, json: bool) -> ExitCode {
    handover::run(config, Errand::Pause(pbx), json).await
}

/// Lets a PBX be followed again.
pub async fn resume(config: &Path, pbx: String, json: bool) -> ExitCode {
    handover::run(config, Errand::Resume(pbx), json).await
}
