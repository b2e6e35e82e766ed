//! The program as a contract: what each command does, says and exits with.

mod program;

#[path = "cli/backfill.rs"]
mod backfill;
#[path = "cli/check.rs"]
mod check;
#[path = "cli/environment.rs"]
mod environment;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/password.rs"]
mod password;
#[path = "cli/way.rs"]
mod way;
