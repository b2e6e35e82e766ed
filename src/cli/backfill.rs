//! `callvault backfill`: archive a range of days, once.

use std::path::PathBuf;

use jiff::civil::Date;

use super::{Json, Pbxs, To};
use crate::pipeline::backfill;
use crate::service::requests::Request;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pbxs: Pbxs,
    /// The first day, by the PBX's calendar; 180 days ago if not given
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    #[command(flatten)]
    to: To,
    /// Read the calls from this CSV file instead of the PBX's API; may be given more than once
    #[arg(long, value_name = "FILE")]
    cdr: Vec<PathBuf>,
    /// Archive voicemail too: everything in the boxes, whatever its day
    #[arg(long)]
    voicemail: bool,
    /// Read the calls and show what would be fetched; fetch nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

impl Options {
    /// The request, and whether its outcome is printed as JSON.
    pub(super) fn into_request(self) -> (Request, bool) {
        let Self { pbxs: Pbxs { pbx }, from, to: To { to }, cdr, voicemail, dry_run, json: Json { json } } =
            self;
        // The service has another working directory.
        let cdr = cdr.into_iter().map(|file| std::path::absolute(&file).unwrap_or(file)).collect();
        let request = backfill::Request { pbx, from, to, cdr, voicemail, dry_run, queue_only: None };
        (Request::Backfill(request), json)
    }
}
