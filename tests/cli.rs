//! The program as a contract: what each command does, says and exits with.

mod program;

#[path = "cli/arguments.rs"]
mod arguments;
#[path = "cli/backfill.rs"]
mod backfill;
#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/disk.rs"]
mod disk;
#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/ledger.rs"]
mod ledger;
#[path = "cli/modes.rs"]
mod modes;
#[path = "cli/password.rs"]
mod password;
#[path = "program/pem.rs"]
mod pem;
#[path = "cli/pipe.rs"]
mod pipe;
#[path = "cli/planted.rs"]
mod planted;
#[path = "cli/reconcile.rs"]
mod reconcile;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/simulate.rs"]
mod simulate;
#[path = "cli/status.rs"]
mod status;
#[path = "cli/users.rs"]
mod users;
#[path = "cli/verify.rs"]
mod verify;
#[path = "cli/voicemail.rs"]
mod voicemail;
#[path = "cli/way.rs"]
mod way;
