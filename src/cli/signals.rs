//! Ctrl-C and SIGTERM: the first finishes what is in flight, the second stops at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{exit, output};

/// A token that the first signal cancels. The second ends the process; nothing durable is lost by that.
pub(super) fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let first = stop.clone();
    tokio::spawn(async move {
        for number in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if number > 1 {
                output::error_line(
                    "callvault: stopped at once; what was in flight is fetched again by the next run",
                );
                std::process::exit(exit::INTERRUPTED.into());
            }
            output::error_line("callvault: finishing what is in flight; press Ctrl-C again to stop at once");
            first.cancel();
        }
    });
    Ok(stop)
}
