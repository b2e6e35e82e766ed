//! `callvault backfill`: archive a range of days, once.

use std::path::Path;
use std::process::ExitCode;

use super::handover;
use crate::pipeline::backfill::Request;
use crate::service::requests;

/// Runs a backfill and tells how it went.
pub async fn run(config: &Path, request: Request, json: bool) -> ExitCode {
    // The service has another working directory.
    let cdr =
        request.cdr.iter().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())).collect();
    handover::run(config, requests::Request::Backfill(Request { cdr, ..request }), json).await
}
