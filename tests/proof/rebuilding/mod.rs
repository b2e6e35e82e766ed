//! The database made anew from archive and ledger alone: equal to the lost one in everything that a user can see.

mod compare;
mod damaged;
mod equal;
mod ledger;
mod million;
mod older;
mod publishing;
mod snapshots;
