//! TLS against real servers: stunnel in front of the simulated PBX, with each language and certificate that is met.

mod languages;
mod roots;
mod server;
mod trusting;

/// A `backfill` of the few days in which a PBX of the program's tests has calls: each day costs handshakes.
fn backfill() -> [String; 3] {
    let from = callvault::base::clock::now() - jiff::ToSpan::hours(72);
    ["backfill".to_owned(), "--from".to_owned(), from.strftime("%F").to_string()]
}
