//! `callvault trust`: show the certificate of a PBX, and pin its key.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use jiff::Timestamp;
use serde::Serialize;

use super::exit;
use super::output;
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::{Config, PbxConfig, PinError, pin_line, write_pin};
use crate::pbx::{Certificate, Shown, look_at_certificate};
use crate::pipeline::backfill::RangeError;
use crate::pipeline::gate::Trouble;
use crate::service::requests::UsageError;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The PBX
    #[arg(value_name = "PBX")]
    pbx: String,
    /// Pin without asking, if the certificate or its key has this SHA-256
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Shows the certificate of a PBX and pins its key, if the operator says so.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    let json = options.json;
    exit::of(trust(config, options).await, json)
}

async fn trust(file: &Path, options: Options) -> anyhow::Result<u8> {
    let Options { pbx: id, fingerprint: known, json } = options;
    let known = known.as_deref().map(fingerprint).transpose()?;
    let config = Config::load_to_trust(file)?;
    let pbx = config.pbx.iter().find(|pbx| pbx.id == id);
    let pbx = pbx.ok_or_else(|| RangeError::unknown_pbx(&id, &config.pbx))?;
    let message = format!("pbx `{id}` has an http address, which has no certificate to trust");
    ensure!(pbx.url.scheme() == "https", UsageError(message));
    let now = Clock::system().now();
    let shown = look_at_certificate(pbx, now).await?;
    if !json {
        print(pbx, &shown, now);
    }
    // With --json nobody sees what he would say yes to.
    let may_ask = !json && io::stdin().is_terminal();
    let pinned =
        decide(pbx, &shown.certificate, known, may_ask).and_then(|()| pin(file, pbx, &shown.certificate));
    conclude(file, pbx, &shown, &pinned, json);
    Ok(pinned.map_or_else(|refused| refused.code_and_reason().0, |_| exit::COMPLETE))
}

fn fingerprint(text: &str) -> Result<Digest, UsageError> {
    let message = "--fingerprint is not a SHA-256: give 64 hex digits, with or without `sha256:` and colons";
    Digest::from_fingerprint(text).ok_or_else(|| UsageError(message.to_owned()))
}

/// Why nothing was pinned.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "neither the certificate nor its key has the fingerprint {known}, so nothing was pinned; compare again: \
         someone may be intercepting the connection"
    )]
    OtherKey { known: Digest },
    #[error(
        "nothing was pinned, because callvault cannot ask you here: use a terminal without --json, or give the fingerprint \
         that you compared with --fingerprint"
    )]
    NobodyToAsk,
    #[error("nothing was pinned, because the answer was not `yes`")]
    Declined,
    #[error("{error}; add this line to the [[pbx]] with id = \"{id}\" yourself: {line}")]
    Unwritten { error: PinError, id: String, line: String },
}

impl Refused {
    /// The exit code, and the word for it in JSON.
    fn code_and_reason(&self) -> (u8, &'static str) {
        match self {
            Self::OtherKey { .. } => (exit::UNREACHABLE, "tls_pin_mismatch"),
            Self::NobodyToAsk | Self::Declined => (exit::USAGE, "usage"),
            Self::Unwritten { .. } => (exit::USAGE, "configuration"),
        }
    }
}

/// Whether the key may be pinned: by a fingerprint known from elsewhere, or by asking.
fn decide(
    pbx: &PbxConfig,
    certificate: &Certificate,
    known: Option<Digest>,
    may_ask: bool,
) -> Result<(), Refused> {
    match known {
        Some(known) if known == certificate.sha256 || known == certificate.key_sha256 => Ok(()),
        Some(known) => Err(Refused::OtherKey { known }),
        None if pbx.tls_pin_sha256 == Some(certificate.key_sha256) => Ok(()),
        None if !may_ask => Err(Refused::NobodyToAsk),
        None if is_confirmed() => Ok(()),
        None => Err(Refused::Declined),
    }
}

fn is_confirmed() -> bool {
    output::error_line("Compare the SHA-256 with what you know of this PBX, then type `yes` to pin its key:");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}

/// Pins the key; returns whether that changed anything.
fn pin(file: &Path, pbx: &PbxConfig, certificate: &Certificate) -> Result<bool, Refused> {
    let key = certificate.key_sha256;
    if pbx.tls_pin_sha256 == Some(key) {
        return Ok(false);
    }
    write_pin(file, &pbx.id, key).map(|()| true).map_err(|error| Refused::Unwritten {
        error,
        id: pbx.id.clone(),
        line: pin_line(key),
    })
}

fn print(pbx: &PbxConfig, shown: &Shown, now: Timestamp) {
    let Certificate { subject, issuer, not_before, not_after, sha256, key_sha256 } = &shown.certificate;
    let validity = match () {
        () if now < *not_before => " (not yet valid)",
        () if now > *not_after => " (expired)",
        () => "",
    };
    let pinned = match pbx.tls_pin_sha256 {
        Some(pin) if pin == *key_sha256 => "this key".to_owned(),
        Some(pin) => format!("ANOTHER KEY: {pin}"),
        None => "nothing".to_owned(),
    };
    let roots = match &shown.roots {
        Ok(()) => "accept it, also without a pin".to_owned(),
        Err(why) => format!("do not accept it ({why})"),
    };
    output::line(format_args!(
        "pbx `{}` at {} shows this certificate:
  subject             {subject}
  issuer              {issuer}
  valid               {not_before} to {not_after}{validity}
  certificate SHA-256 {sha256}
  key SHA-256         {key_sha256}
  pinned              {pinned}
  system's roots      {roots}",
        pbx.id,
        pbx.url.origin().ascii_serialization()
    ));
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    pbx: &'a str,
    url: String,
    certificate: &'a Certificate,
    accepted_by_roots: bool,
    /// What was pinned before.
    pinned_before: Option<Digest>,
    /// What is pinned now.
    pinned: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
}

/// Tells what came of it.
fn conclude(file: &Path, pbx: &PbxConfig, shown: &Shown, pinned: &Result<bool, Refused>, json: bool) {
    if json {
        let (refused, key) = (pinned.as_ref().err(), Some(shown.certificate.key_sha256));
        return exit::print_json(&Report {
            pbx: &pbx.id,
            url: pbx.url.origin().ascii_serialization(),
            certificate: &shown.certificate,
            accepted_by_roots: shown.roots.is_ok(),
            pinned_before: pbx.tls_pin_sha256,
            pinned: if refused.is_none() { key } else { pbx.tls_pin_sha256 },
            error: refused.map(|refused| Trouble {
                reason: refused.code_and_reason().1.to_owned(),
                message: format!("pbx `{}`: {refused}", pbx.id),
            }),
        });
    }
    match pinned {
        Ok(true) => {
            output::line(format_args!("Pinned in {}.", file.display()));
            output::line("If the service is running, `systemctl reload callvault` makes it use the pin.");
        }
        Ok(false) => output::line("This key is already pinned: there is nothing to do."),
        Err(refused) => output::error_line(format_args!("callvault: pbx `{}`: {refused}", pbx.id)),
    }
}
