//! What `--help` says is part of the contract.

use crate::support::program::Folder;

fn help(of: &[&str]) -> String {
    let folder = Folder::for_pbx("https://192.0.2.1");
    // The environment's own path stands in the help.
    let mut command = folder.command([of, &["--help"]].concat());
    command.env_remove("CALLVAULT_CONFIG");
    folder.start(command).wait().exits(0).out()
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!(help(&[]), @r"
    Archives every call recording of a Yeastar S-Series (or compatible) PBX, and can prove it

    Usage: callvault [OPTIONS] <COMMAND>

    Commands:
      demo       Archive from a simulated PBX: nothing to configure
      backfill   Archive a range of days, once
      status     Show what is not archived yet, what is wrong, and what to do
      reconcile  Compare what each PBX listed, day by day, with what became of it
      run        Follow every PBX until stopped: the service
      feed       Print the ledger as lines of JSON, in order
      pause      Stop working on a PBX until it is resumed
      resume     Work on a paused PBX again
      retry      Try again what was given up, and lift a PBX's pause
      accept     Accept a day's call list as it is, or a file found in the place of a recording; the
                 ledger keeps the reason
      rebuild    Rebuild the database from the archive and the ledger; the former database is kept
      backup     Back up everything that the archive does not hold: database, keys and configuration,
                 readable by their owner only
      trust      Show the certificate of a PBX, and pin its key
      verify     Check that the archive is unchanged, and name what is not
      export     Export recordings with their proofs, as a folder or ZIP that others can check without
                 callvault
      ledger     Show, prove and check the ledger of everything that happened to the archive
      config     Check the configuration
      simulate   Run a simulated PBX, to rehearse and to test
      help       Print this message or the help of the given subcommand(s)

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
      -h, --help             Print help
      -V, --version          Print version

    Exit codes: 0 complete; 1 internal error; 2 wrong usage or configuration, disk full, archive
    unusable, or state locked by another callvault; 3 finished, but something listed is not archived; 4
    a PBX was unreachable or refused callvault; 5 something archived or signed is damaged; 130
    interrupted.

    Set CALLVAULT_LOG=debug to see each request on stderr.
    ");
}

#[test]
fn help_of_demo() {
    insta::assert_snapshot!(help(&["demo"]), @r"
    Archive from a simulated PBX: nothing to configure

    Usage: callvault demo [OPTIONS]

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --dir <DIR>        The folder for the demo's archive and state [default: callvault-demo]
          --keep             Continue with what an earlier demo left there, instead of starting anew
      -h, --help             Print help
    ");
}

#[test]
fn help_of_backfill() {
    insta::assert_snapshot!(help(&["backfill"]), @r"
    Archive a range of days, once

    Usage: callvault backfill [OPTIONS]

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --pbx <ID>         Only this PBX; may be given more than once
          --from <DATE>      The first day, by the PBX's calendar; 180 days ago if not given
          --to <DATE>        The last day, included
          --cdr <FILE>       Read the calls from this CSV file instead of the PBX's API; may be given
                             more than once
          --voicemail        Archive voicemail too: everything in the boxes, whatever its day
          --dry-run          Read the calls and show what would be fetched; fetch nothing
          --json             Print one JSON object on stdout
      -h, --help             Print help
    ");
}

#[test]
fn help_of_export() {
    insta::assert_snapshot!(help(&["export"]), @r"
    Export recordings with their proofs, as a folder or ZIP that others can check without callvault

    Usage: callvault export [OPTIONS] --out <DIR>

    Options:
          --config <CONFIG>        The configuration [env: CALLVAULT_CONFIG=] [default:
                                   /etc/callvault/callvault.toml]
          --out <DIR>              A folder that does not exist yet or is empty; with --zip, the name of
                                   the file
          --from <DATE>            The first day, by the PBX's calendar; from the beginning if not given
          --to <DATE>              The last day, included
          --pbx <ID>               Only this PBX; may be given more than once
          --extension <EXTENSION>  Only calls with this extension on either side; may be given more than
                                   once
          --number <NUMBER>        Only calls with this number on either side, or dialled from outside;
                                   may be given more than once
          --list <FILE>            Exactly the recordings that this file names, one name or path per
                                   line; `-` reads stdin
          --voicemail              Voicemail messages too
          --zip                    One ZIP file instead of a folder
          --json                   Print one JSON object on stdout
      -h, --help                   Print help
    ");
}

#[test]
fn help_of_status() {
    insta::assert_snapshot!(help(&["status"]), @r"
    Show what is not archived yet, what is wrong, and what to do

    Usage: callvault status [OPTIONS]

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --pbx <ID>         Only this PBX, in full; may be given more than once
          --watch            Redraw it every 2 s, until Ctrl-C
          --json             Print one JSON object on stdout
      -h, --help             Print help
    ");
}

#[test]
fn help_of_feed() {
    insta::assert_snapshot!(help(&["feed"]), @r"
    Print the ledger as lines of JSON, in order

    Usage: callvault feed [OPTIONS]

    Options:
          --after <NUMBER>   Only entries after the one of this number
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --follow           Continue with new entries, until Ctrl-C
      -h, --help             Print help
    ");
}

#[test]
fn help_of_retry() {
    insta::assert_snapshot!(help(&["retry"]), @r"
    Try again what was given up, and lift a PBX's pause

    Usage: callvault retry [OPTIONS] [NAMES]...

    Arguments:
      [NAMES]...  Only recordings of these names

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --pbx <ID>         Only this PBX; also lifts its pause after a refused password or a lock-out,
                             and notes that you have seen its findings
          --stuck            Only recordings that are stuck
          --json             Print one JSON object on stdout
      -h, --help             Print help
    ");
}

#[test]
fn help_of_config_check() {
    insta::assert_snapshot!(help(&["config", "check"]), @r"
    Show everything that is wrong with the configuration, at once

    Usage: callvault config check [OPTIONS]

    Options:
          --config <CONFIG>  The configuration [env: CALLVAULT_CONFIG=] [default:
                             /etc/callvault/callvault.toml]
          --json             Print one JSON object on stdout
      -h, --help             Print help
    ");
}

#[test]
fn help_of_simulate() {
    insta::assert_snapshot!(help(&["simulate"]), @r#"
    Run a simulated PBX, to rehearse and to test

    Usage: callvault simulate [OPTIONS]

    Options:
          --config <CONFIG>                The configuration [env: CALLVAULT_CONFIG=] [default:
                                           /etc/callvault/callvault.toml]
          --listen <ADDR>                  Where to listen; port 0 takes a free one. The compatible
                                           device listens on port 9011, others on 8088
          --version <VERSION>              The kind of device: v1.0.x, v1.1.0, v2.0.0 or compatible
                                           [default: v1.1.0]
          --tls                            HTTPS with a self-signed certificate instead of plain HTTP
          --seed <SEED>                    What every draw depends on [default: 1]
          --recordings <RECORDINGS>        How many recordings there are [default: 200]
          --days <DAYS>                    Over how many days they are spread [default: 3]
          --today <DATE>                   The last day with calls; the day before today if not given,
                                           or today with --live
          --live                           Calls are being made: each appears when it ends, those of the
                                           future too
          --ready-after <SECONDS>          With --live, for how many seconds after its call a recording
                                           is still being written [default: 5]
          --round-the-clock                Calls come at all hours, not in business hours only
          --now <TIME>                     What its clock shows at the start, such as
                                           TIME; the present time if not given
          --keep-cdr-rows <ROWS>           How many CDR rows it keeps; it overwrites the oldest
          --keep-cdr-days <DAYS>           For how many days it keeps CDR rows
          --keep-recording-days <DAYS>     For how many days it keeps recordings
          --keep-recording-bytes <BYTES>   How many bytes of recordings it keeps; it overwrites the
                                           oldest
          --redirect-from <ADDR>           Where else to listen, to redirect all plain HTTP to the
                                           device, as its port 80 does
          --size <BYTES>                   Size of every file, in bytes; drawn if not given
          --odd-names <ODD_NAMES>          How many recordings have odd names: `../`, control
                                           characters, 300 bytes [default: 0]
          --voicemails <VOICEMAILS>        How many voicemail messages there are [default: 20]
          --username <USERNAME>            The API user [default: api]
          --password <PASSWORD>            The API user's password [default: Simulated1]
          --serial-number <SERIAL_NUMBER>  The device's serial number
          --timezone <TIMEZONE>            The zone of the device's clock [default: Europe/Berlin]
          --content-length                 Send a Content-Length with every reply
          --event-port <PORT>              Offer event streams on this port, as v2.0.0 can; port 0 takes
                                           a free one
          --faults <JSON>                  Faults, as a JSON file or as JSON itself, such as
                                           '{"reset":0.03,"truncate":0.03}'
      -h, --help                           Print help

    While it runs, its controls are under URL/simulator/:
      GET counters                  what it has counted
      GET truth, voicemail          what it holds
      GET listed, served            what it ever listed in a CDR, what it sent
      GET overwritten               what its retention took before anyone had it
      GET registrations, push       where its reports are to go, what became of them
      GET faults                    the faults at work
      POST faults                   replaces all faults by those in the body
      POST alter                    changes only the faults in the body
      POST retention                changes what it keeps, such as {"recording_days":30}
      POST advance?s=3600           lets time pass on it
      POST clock?at=TIME            sets its clock, such as TIME; no time passes by that
      POST outage?s=60              takes it down for so long; &how=reset accepts and resets instead
      POST lockout                  locks out the address that asks
      POST revoke                   ends all sessions
      POST reboot                   forgets all sessions and tickets, and reports that
      POST call                     ends a call now, and reports it
    "#);
}
