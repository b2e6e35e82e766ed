//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::path::Path;
use std::process::ExitCode;

use super::{exit, handover};
use crate::service::requests::{Request, Retry};

/// Puts recordings back into the queue and works on it.
pub async fn run(config: &Path, retry: Retry, json: bool) -> ExitCode {
    // Before anything is opened or asked.
    if let Err(error) = retry.check() {
        return exit::fail(&error.into(), json);
    }
    handover::run(config, Request::Retry(retry), json).await
}
