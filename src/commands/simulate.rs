//! `callvault simulate`: a PBX to rehearse with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::civil::Date;

use super::exit::UsageError;
use super::{exit, signals};
use crate::simulator::{Faults, Profile, Simulator, SimulatorOptions};

/// How the simulated PBX should be.
#[derive(Debug, clap::Args)]
pub struct Options {
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
    /// The last day with calls; the day before today if not given
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
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
    /// Faults, as a JSON file or as JSON itself, such as '{"reset":0.03,"seed":7}'
    #[arg(long, value_name = "JSON")]
    faults: Option<String>,
}

/// Runs the simulator until it is interrupted.
pub async fn run(options: Options) -> ExitCode {
    match simulate(options).await {
        Ok(()) => ExitCode::from(exit::COMPLETE),
        Err(error) => exit::fail(&error, false),
    }
}

async fn simulate(options: Options) -> anyhow::Result<()> {
    let stop = signals::stop_on_signals()?;
    let faults = options.faults.as_deref().map(read_faults).transpose()?;
    let asked = options.simulator_options()?;
    let (username, password, version) =
        (asked.username.clone(), asked.password.clone(), options.version.clone());
    let simulator = Simulator::start(asked).await.context("starting the simulator")?;
    if let Some(faults) = faults {
        simulator.set_faults(faults);
    }
    let url = simulator.url();
    println!("A simulated PBX ({version}) answers at {url}.");
    println!();
    println!("  [[pbx]]");
    println!("  id = \"simulated\"");
    println!("  url = \"{url}\"");
    println!("  api_version = \"{}\"", if version == "compatible" { "v0.0.1" } else { &version });
    println!("  username = \"{username}\"");
    println!("  password = \"{password}\"          # in a file that only you can read");
    if url.starts_with("http:") {
        println!("  allow_plain_http = true");
    }
    println!();
    println!("What it counts:  {url}/simulator/counters");
    println!("What it holds:   {url}/simulator/truth");
    println!("Ctrl-C ends it.");
    stop.cancelled().await;
    simulator.shutdown().await;
    Ok(())
}

impl Options {
    fn simulator_options(&self) -> anyhow::Result<SimulatorOptions> {
        let profile = profile(&self.version)?;
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
            today: self.today,
            days: self.days,
            recordings: self.recordings,
            size_bytes: self.size.map_or(defaults.size_bytes, |size| (size, size)),
            odd_names: self.odd_names,
            voicemails: self.voicemails,
            content_length: self.content_length,
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
            let file = PathBuf::from(text);
            std::fs::read_to_string(&file)
                .with_context(|| format!("reading the faults in {}", file.display()))?
        }
    };
    serde_json::from_str(&json).map_err(|error| UsageError(format!("--faults: {error}")).into())
}
