//! What several programs of tests share: far sides, the built program, and judgements of what is left in the end.

pub(crate) mod acknowledged;
pub(crate) mod authority;
pub(crate) mod campaign;
pub(crate) mod chance;
pub(crate) mod closing;
pub(crate) mod eventful;
pub(crate) mod following;
pub(crate) mod pem;
pub(crate) mod program;
pub(crate) mod reader;
pub(crate) mod receiver;
pub(crate) mod search;
pub(crate) mod shim;
pub(crate) mod station;
pub(crate) mod supervisor;
