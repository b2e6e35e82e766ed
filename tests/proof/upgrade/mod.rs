//! States and archives that earlier versions made: later ones open them, lose nothing of them, and go on.

mod going_on;
mod house;
mod making;
mod opening;
