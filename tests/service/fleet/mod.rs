//! Fifty PBXs under one service: some that fail touch none that are well, and what an operator gets wrong, or takes
//! away, is told and survived.

mod archive;
mod failing;
mod fifty;
