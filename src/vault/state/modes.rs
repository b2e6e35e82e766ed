//! The state is its owner's alone: it holds keys, and a database with the numbers of everybody who called.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tracing::warn;

/// What the group and the world may do.
const OTHERS: u32 = 0o077;

/// Takes what the group and the world may do from the state folder and from what lies in it, and says so in the log. Where that
/// cannot be done, as on a filesystem without modes, it is said and nothing else: archiving does not stop over modes.
pub(super) fn tighten(directory: &Path) {
    tighten_one(directory);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.for_each(|entry| tighten_one(&entry.path()));
}

fn tighten_one(path: &Path) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let mode = found.permissions().mode() & 0o7777;
    let is_plain = found.is_file() || found.is_dir();
    if !is_plain || mode & OTHERS == 0 {
        return;
    }
    let shown = path.display();
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => warn!("Others could use `{shown}` (mode {mode:04o}): it is its owner's alone now"),
        Err(error) => warn!(
            "Others can use `{shown}` (mode {mode:04o}), and that cannot be changed ({error}): keep the state on a local \
             disk, as its owner's alone (`chmod go= {shown}`)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_do_is_taken_and_the_owner_keeps_all() {
        let folder = tempfile::tempdir().unwrap();
        let (state, elsewhere) = (folder.path().join("state"), folder.path().join("elsewhere"));
        fs::create_dir(&state).unwrap();
        fs::write(&elsewhere, "theirs").unwrap();
        let file = state.join("ledger.key");
        fs::write(&file, "secret").unwrap();
        std::os::unix::fs::symlink(&elsewhere, state.join("link")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        set(&state, 0o777);
        set(&file, 0o644);
        set(&elsewhere, 0o644);
        tighten(&state);
        assert_eq!((mode(&state), mode(&file), mode(&elsewhere)), (0o700, 0o600, 0o644));
        tighten(&state);
        assert_eq!((mode(&state), mode(&file)), (0o700, 0o600));
    }
}
