//! `callvault simulate`: a PBX to rehearse with.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use jiff::civil::Date;

use super::{exit, output, signals};
use crate::config::pin_line;
use crate::pbx::Certificate;
use crate::service::requests::UsageError;
use crate::simulator::{Faults, Profile, PushOptions, Retention, Simulator, SimulatorOptions};

/// What an observer can do while it runs.
const CONTROLS: &str = "\
While it runs, its controls are under URL/simulator/:
  GET counters                  what it has counted
  GET truth, voicemail          what it holds
  GET listed, served            what it ever listed in a CDR, what it sent
  GET overwritten               what its retention took before anyone had it
  GET registrations, push       where its reports are to go, what became of them
  GET faults                    the faults at work
  POST faults                   replaces all faults by those in the body
  POST alter                    changes only the faults in the body
  POST retention                changes what it keeps, such as {\"recording_days\":30}
  POST advance?s=3600           lets time pass on it
  POST clock?at=TIME            sets its clock, such as 2024-10-27T00:30:00Z; no time passes by that
  POST outage?s=60              takes it down for so long; &how=reset accepts and resets instead
  POST lockout                  locks out the address that asks
  POST revoke                   ends all sessions
  POST reboot                   forgets all sessions and tickets, and reports that
  POST call                     ends a call now, and reports it";

/// How the simulated PBX should be.
#[derive(Debug, clap::Args)]
#[command(after_help = CONTROLS)]
pub(super) struct Options {
    /// Where to listen; port 0 takes a free one. The compatible device listens on port 9011, others on 8088
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// The kind of device: v1.0.x, v1.1.0, v2.0.0 or compatible
    #[arg(long, default_value = "v1.1.0")]
    version: String,
    /// HTTPS with a self-signed certificate instead of plain HTTP
    #[arg(long)]
    tls: bool,
    /// What every draw depends on
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many recordings there are
    #[arg(long, default_value_t = 200)]
    recordings: u64,
    /// Over how many days they are spread
    #[arg(long, default_value_t = 3)]
    days: u32,
    /// The last day with calls; the day before today if not given, or today with --live
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
    /// Calls are being made: each appears when it ends, those of the future too
    #[arg(long)]
    live: bool,
    /// With --live, for how many seconds after its call a recording is still being written
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    ready_after: u64,
    /// Calls come at all hours, not in business hours only
    #[arg(long)]
    round_the_clock: bool,
    /// What its clock shows at the start, such as 2024-10-01T00:00:00Z; the present time if not given
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// How many CDR rows it keeps; it overwrites the oldest
    #[arg(long, value_name = "ROWS")]
    keep_cdr_rows: Option<u64>,
    /// For how many days it keeps CDR rows
    #[arg(long, value_name = "DAYS")]
    keep_cdr_days: Option<u32>,
    /// For how many days it keeps recordings
    #[arg(long, value_name = "DAYS")]
    keep_recording_days: Option<u32>,
    /// How many bytes of recordings it keeps; it overwrites the oldest
    #[arg(long, value_name = "BYTES")]
    keep_recording_bytes: Option<u64>,
    /// Where else to listen, to redirect all plain HTTP to the device, as its port 80 does
    #[arg(long, value_name = "ADDR")]
    redirect_from: Option<SocketAddr>,
    /// Size of every file, in bytes; drawn if not given
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// How many recordings have odd names: `../`, control characters, 300 bytes
    #[arg(long, default_value_t = 0)]
    odd_names: usize,
    /// How many voicemail messages there are
    #[arg(long, default_value_t = 20)]
    voicemails: usize,
    /// The API user
    #[arg(long, default_value = "api")]
    username: String,
    /// The API user's password
    #[arg(long, default_value = "Simulated1")]
    password: String,
    /// The device's serial number
    #[arg(long)]
    serial_number: Option<String>,
    /// The zone of the device's clock
    #[arg(long, default_value = "Europe/Berlin")]
    timezone: String,
    /// Send a Content-Length with every reply
    #[arg(long)]
    content_length: bool,
    /// Offer event streams on this port, as v2.0.0 can; port 0 takes a free one
    #[arg(long, value_name = "PORT")]
    event_port: Option<u16>,
    /// Faults, as a JSON file or as JSON itself, such as '{"reset":0.03,"truncate":0.03}'
    #[arg(long, value_name = "JSON")]
    faults: Option<String>,
}

/// Runs the simulator until it is interrupted.
pub(super) async fn run(options: Options) -> ExitCode {
    exit::of(simulate(options).await, false)
}

async fn simulate(options: Options) -> anyhow::Result<u8> {
    let stop = signals::stop_on_signals()?;
    let faults = options.faults.as_deref().map(read_faults).transpose()?;
    let asked = options.simulator_options()?;
    let (username, password) = (asked.username.clone(), asked.password.clone());
    // Each reason is an option: an address that is not ours or not free, or an unknown zone.
    let started = Simulator::start(asked).await;
    let simulator = started.map_err(|error| UsageError(format!("the simulator cannot start: {error:#}")))?;
    if let Some(faults) = faults {
        simulator.set_faults(faults);
    }
    print(&simulator, &options, &username, &password)?;
    stop.cancelled().await;
    simulator.shutdown().await;
    Ok(exit::COMPLETE)
}

/// Prints where it answers, how to configure it, and what it can be asked.
fn print(simulator: &Simulator, options: &Options, username: &str, password: &str) -> anyhow::Result<()> {
    let (url, version) = (simulator.url(), &*options.version);
    let api_version = if version == "compatible" { "v0.0.1" } else { version };
    output::line(format_args!(
        "A simulated PBX ({version}) answers at {url}.\n
  [[pbx]]
  id = \"simulated\"
  url = \"{url}\"
  api_version = \"{api_version}\"
  username = \"{username}\"
  password = \"{password}\"          # in a file that only you can read"
    ));
    match simulator.certificate()? {
        Some(der) => {
            let certificate = Certificate::read(&der).map_err(anyhow::Error::msg)?;
            output::line(format_args!("  {}", pin_line(certificate.key_sha256)));
        }
        None => output::line("  allow_plain_http = true"),
    }
    if let Some(port) = simulator.stream_port() {
        if options.tls {
            output::line("  allow_plain_http = true             # the event stream knows no TLS");
        }
        output::line(format_args!("  push = \"tcp\"\n  push_tcp_port = {port}"));
    }
    output::line("");
    if let Some(address) = simulator.redirect_address() {
        output::line(format_args!("Requests to http://{address} are redirected there."));
    }
    output::line(format_args!(
        "What it counts:  {url}/simulator/counters
What it holds:   {url}/simulator/truth
A call ends now: curl -X POST {url}/simulator/call
Ctrl-C ends it."
    ));
    Ok(())
}

impl Options {
    fn simulator_options(&self) -> anyhow::Result<SimulatorOptions> {
        let profile = profile(&self.version)?;
        let has_streams = profile == Profile::V2 || self.event_port.is_none();
        ensure!(has_streams, UsageError("--event-port is for --version v2.0.0 only".to_owned()));
        let port = if profile == Profile::Compatible { 9011 } else { 8088 };
        let defaults = SimulatorOptions::default();
        Ok(SimulatorOptions {
            listen: self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port))),
            tls: self.tls,
            profile,
            seed: self.seed,
            username: self.username.clone(),
            password: self.password.clone(),
            serial_number: self.serial_number.clone().unwrap_or(defaults.serial_number),
            timezone: self.timezone.clone(),
            now: self.now,
            today: self.today,
            live: self.live,
            ready_after: Duration::from_secs(self.ready_after),
            round_the_clock: self.round_the_clock,
            retention: Retention {
                cdr_rows: self.keep_cdr_rows,
                cdr_days: self.keep_cdr_days,
                recording_days: self.keep_recording_days,
                recording_bytes: self.keep_recording_bytes,
            },
            redirect_from: self.redirect_from,
            days: self.days,
            recordings: self.recordings,
            size_bytes: self.size.map_or(defaults.size_bytes, |size| (size, size)),
            odd_names: self.odd_names,
            voicemails: self.voicemails,
            content_length: self.content_length,
            push: PushOptions { stream_port: self.event_port, ..PushOptions::default() },
            ..SimulatorOptions::default()
        })
    }
}

fn profile(version: &str) -> Result<Profile, UsageError> {
    match version {
        "v1.0.x" | "v1.0.1" => Ok(Profile::V1_0),
        "v1.1.0" => Ok(Profile::V1_1),
        "v2.0.0" => Ok(Profile::V2),
        "compatible" => Ok(Profile::Compatible),
        other => Err(UsageError(format!(
            "--version {other} is not one that the simulator plays: use v1.0.x, v1.1.0, v2.0.0 or compatible"
        ))),
    }
}

fn read_faults(text: &str) -> anyhow::Result<Faults> {
    let json = match text.trim_start().starts_with('{') {
        true => text.to_owned(),
        false => {
            std::fs::read_to_string(text).map_err(|error| UsageError(format!("--faults {text}: {error}")))?
        }
    };
    serde_json::from_str(&json).map_err(|error| UsageError(format!("--faults: {error}")).into())
}
