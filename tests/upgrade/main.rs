//! States and archives that earlier versions made: later ones open them, lose nothing of them, and go on.

#[path = "../common/closing.rs"]
mod closing;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than upgrading needs")]
mod common;

mod going_on;
mod house;
mod making;
mod opening;
