//! Whose user the state and the archive belong to: nobody else writes there, and nobody else reads the state.
//!
//! A command that root runs once leaves files of root's, and the service's user cannot work any more. So who owns what is
//! there is looked at before anything is made. The state says it best: it is always on a local disk. On filesystems that
//! know no owners (CIFS, FUSE and their kind) whatever they show says nothing.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::StateError;
use super::lock::with_suffix;
use crate::base::filesystem::keeps_owners;
use crate::base::users::{User, quoted};
use crate::config::Config;
use crate::store::db::database_file;

/// Refuses to write as another user than the one whose state and archive these are. Nothing is made or changed.
///
/// # Errors
/// [`StateError::OtherUser`] if another user has to run this; [`StateError::OtherUsersFile`] if single files are in the way.
pub fn refuse_other_user(config: &Config) -> Result<(), StateError> {
    Places { state: &config.state.path, archive: &config.archive.path, us: User::of_this_process() }
        .check(config.pbx.iter().map(|pbx| pbx.id.as_str()))
}

struct Places<'a> {
    state: &'a Path,
    archive: &'a Path,
    us: User,
}

impl Places<'_> {
    fn check<'a>(&self, pbxs: impl Iterator<Item = &'a str>) -> Result<(), StateError> {
        self.check_state()?;
        if !keeps_owners(self.archive) {
            return Ok(());
        }
        let checkpoint = self.archive.join("_ledger").join("checkpoint");
        let markers = pbxs.map(|id| self.archive.join(id).join(".callvault"));
        let mut is_known_as_ours = false;
        for file in markers.chain([checkpoint]) {
            is_known_as_ours |= self.check_file(&file, self.archive, false)?;
        }
        // Folders that several people write to are nobody's business but theirs. Root's files in them are.
        match folder_owner(self.archive) {
            Some((folder, owner)) if self.us == User::ROOT && owner != self.us && !is_known_as_ours => {
                Err(self.other(folder, owner))
            }
            _ => Ok(()),
        }
    }

    fn check_state(&self) -> Result<(), StateError> {
        let database = database_file(self.state);
        // The database says more than its folder, which may have been made by or for somebody else.
        if !self.check_file(&database, self.state, true)?
            && let Some((folder, owner)) = folder_owner(self.state)
            && owner != self.us
            // A folder of root's that others may write to says nothing of who is to work in it.
            && owner != User::ROOT
        {
            return Err(self.other(folder, owner));
        }
        let (log, index) = (with_suffix(&database, "-wal"), with_suffix(&database, "-shm"));
        for file in [log, index, self.state.join("lock")] {
            self.check_file(&file, self.state, true)?;
        }
        for file in ["ledger.key", "credentials.key", "adopt.key"] {
            self.check_file(&self.state.join(file), self.state, false)?;
        }
        Ok(())
    }

    /// Whether a file is there and ours. One of another user's is refused: either he is the rightful one, as the folder
    /// tells, or the file is in our way.
    fn check_file(&self, file: &Path, folder: &Path, writes: bool) -> Result<bool, StateError> {
        let Ok(Some(owner)) = User::of(file) else { return Ok(false) };
        if owner == self.us {
            return Ok(true);
        }
        let is_our_folder = User::of(folder).is_ok_and(|owner| owner == Some(self.us));
        if !is_our_folder {
            return Err(self.other(file.to_owned(), owner));
        }
        let opens = OpenOptions::new().read(true).write(writes).open(file).is_ok();
        // Whoever may read what he must not write needs nothing. Root always may, and leaves more of his own.
        if opens && self.us != User::ROOT {
            return Ok(false);
        }
        let [state, archive] = [self.state, self.archive].map(|path| quoted(&path.to_string_lossy()));
        Err(StateError::OtherUsersFile {
            file: file.to_owned(),
            owner: owner.in_words(),
            us: self.us.in_words(),
            remedy: format!("sudo chown -R {} {state} {archive}", self.us.for_chown()),
        })
    }

    fn other(&self, path: PathBuf, owner: User) -> StateError {
        let command = std::env::args_os().map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>();
        StateError::OtherUser {
            path,
            owner: owner.in_words(),
            us: self.us.in_words(),
            remedy: format!("sudo -u {} {}", owner.for_sudo(), command.join(" ")),
        }
    }
}

/// The folder, or the nearest parent that exists, and whose it is. A parent of root's says nothing: it is where root lets
/// others make folders.
fn folder_owner(path: &Path) -> Option<(PathBuf, User)> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let owner = User::of(existing).ok()??;
    let says_something = existing == path || owner != User::ROOT;
    says_something.then(|| (existing.to_owned(), owner))
}

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
    use std::fs;

    #[test]
    fn what_is_ours_or_not_there_yet_is_no_objection() {
        let dir = tempfile::tempdir().unwrap();
        let (state, archive) = (dir.path().join("state"), dir.path().join("deep/archive"));
        let places = Places { state: &state, archive: &archive, us: User::of_this_process() };
        places.check(["hq"].into_iter()).unwrap();
        fs::create_dir_all(archive.join("hq")).unwrap();
        fs::create_dir_all(&state).unwrap();
        fs::write(archive.join("hq/.callvault"), "").unwrap();
        fs::write(state.join("callvault.db"), "").unwrap();
        places.check(["hq"].into_iter()).unwrap();
    }

    #[test]
    fn another_user_is_told_whose_it_is_and_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let (state, archive) = (dir.path().join("state"), dir.path().join("archive"));
        fs::create_dir_all(&state).unwrap();
        // As if we were somebody else: a number that nobody has.
        let places = Places { state: &state, archive: &archive, us: User(4_000_000) };
        if User::of_this_process() == User::ROOT {
            // Root's folders may be shared: his files in them are what counts.
            places.check(["hq"].into_iter()).unwrap();
            fs::write(state.join("callvault.db"), "").unwrap();
        }
        let error = places.check(["hq"].into_iter()).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, StateError::OtherUser { .. }), "{told}");
        assert!(told.contains("user 4000000") && told.contains("sudo -u "), "{told}");
        assert!(!told.contains('\n'));
    }

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
