//! Power cuts: real filesystems on loop devices, cloned at one instant while the built program archives, mounted again and
//! checked. Nothing that was acknowledged may be lost, and the program must go on from whatever is left.
//!
//! A clone holds what was submitted to the disk until then, and nothing else. It does not model a disk that forgets or
//! reorders what it was told to flush.
//!
//! `CALLVAULT_FULL=1` takes 1,200 images on three filesystems instead of a few dozen. `CALLVAULT_SEED` chooses other moments.

mod campaign;
mod controls;
mod cutting;
mod device;
mod disk;
mod figures;
mod filesystem;
mod installation;
mod lie;
mod moment;
mod tool;
mod workshop;
