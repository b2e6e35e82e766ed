//! What the filesystem under the archive can do. callvault learns it by trying, because no filesystem says so.

use std::sync::atomic::{AtomicBool, Ordering};

/// What the filesystem is believed to be able to do. What turns out otherwise is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `O_TMPFILE`, and `linkat` from `/proc/self/fd`.
    pub unnamed_temporaries: bool,
    /// `renameat2(RENAME_NOREPLACE)`.
    pub rename_no_replace: bool,
}

impl Abilities {
    /// Everything: the first belief about any filesystem.
    pub const fn all() -> Self {
        Self { unnamed_temporaries: true, rename_no_replace: true }
    }
}

/// The abilities that are left, shared by all writers of an archive.
#[derive(Debug)]
pub(super) struct Ways {
    unnamed_temporaries: AtomicBool,
    rename_no_replace: AtomicBool,
}

impl Ways {
    pub(super) fn new(abilities: Abilities) -> Self {
        Self {
            unnamed_temporaries: AtomicBool::new(abilities.unnamed_temporaries),
            rename_no_replace: AtomicBool::new(abilities.rename_no_replace),
        }
    }

    pub(super) fn get(&self) -> Abilities {
        Abilities {
            unnamed_temporaries: self.unnamed_temporaries.load(Ordering::Relaxed),
            rename_no_replace: self.rename_no_replace.load(Ordering::Relaxed),
        }
    }

    pub(super) fn forget_unnamed_temporaries(&self) {
        self.unnamed_temporaries.store(false, Ordering::Relaxed);
    }

    pub(super) fn forget_rename_no_replace(&self) {
        self.rename_no_replace.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turned_out_to_be_impossible_is_not_believed_any_more() {
        let ways = Ways::new(Abilities::all());
        ways.forget_unnamed_temporaries();
        assert_eq!(ways.get(), Abilities { unnamed_temporaries: false, rename_no_replace: true });
        ways.forget_rename_no_replace();
        assert_eq!(ways.get(), Abilities { unnamed_temporaries: false, rename_no_replace: false });
    }
}
