//! How long the soak is, and how much happens in it.

use std::time::Duration;

/// The pace of a soak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// How long everything is on.
    pub(crate) whole: Duration,
    /// From one `kill -9` to the next.
    pub(crate) kill_every: Duration,
    /// From one look at the process to the next.
    pub(crate) look_every: Duration,
    /// From one command of the operator to the next.
    pub(crate) command_every: Duration,
    /// The mean time from one thing that happens on the PBXs of an installation to the next.
    pub(crate) event_every: Duration,
    /// What calls and faults are drawn from.
    pub(crate) seed: u64,
}

impl Length {
    /// What the environment asks for.
    pub(crate) fn chosen() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let full = number("CALLVAULT_FULL") == Some(1);
        let whole = number("CALLVAULT_SOAK_S").unwrap_or(if full { 3600 } else { 12 });
        let seconds = Duration::from_secs;
        let seed = number("CALLVAULT_SEED").unwrap_or(1);
        if whole < 300 {
            return Self {
                whole: seconds(whole),
                kill_every: seconds(4),
                look_every: Duration::from_millis(500),
                command_every: seconds(1),
                event_every: Duration::from_millis(150),
                seed,
            };
        }
        Self {
            whole: seconds(whole),
            kill_every: seconds(60),
            look_every: seconds(5),
            command_every: seconds(15),
            event_every: Duration::from_millis(600),
            seed,
        }
    }
}
