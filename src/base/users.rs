//! Users of this machine: who runs callvault, and whose a file is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The user that stands for all that a user namespace or a server does not tell (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;
/// The lines of `/proc/self/uid_map` where every user is what he is: no user namespace (`user_namespaces(7)`).
const ALL_MAPPED: [&str; 3] = ["0", "0", "4294967295"];

/// A user, known by his number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User(pub u32);

impl User {
    pub const ROOT: Self = Self(0);

    /// The user that this process acts as.
    pub fn of_this_process() -> Self {
        Self(rustix::process::geteuid().as_raw())
    }

    /// Whose the thing at `path` is; `None` if the system tells nobody's name. A symbolic link is followed, for the operator
    /// chose it.
    ///
    /// # Errors
    /// Those of `stat(2)`.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let owner = Self(fs::metadata(path)?.uid());
        Ok((owner.0 != OVERFLOW || is_every_user_known()).then_some(owner))
    }

    /// His name, or his number where `/etc/passwd` has none: users of directories are found only by their number.
    pub fn name(self) -> Option<String> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        name_in(&users, self.0)
    }

    /// What he is called in a sentence.
    pub fn in_words(self) -> String {
        self.name().unwrap_or_else(|| format!("user {}", self.0))
    }

    /// How `sudo -u` names him.
    pub fn for_sudo(self) -> String {
        self.name().unwrap_or_else(|| format!("'#{}'", self.0))
    }

    /// How `chown` names him: with his own group, if he has one by name.
    pub fn for_chown(self) -> String {
        self.name().map_or_else(|| self.0.to_string(), |name| format!("{name}:"))
    }
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:,@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether this process sees the owner of each file as he is.
fn is_every_user_known() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().eq(ALL_MAPPED))
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        // A name that would not be one word of a command is not worth the doubt.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte);
        let is_word = !name.is_empty() && name.bytes().all(is_plain);
        (number.parse() == Ok(uid) && is_word).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_as_the_list_of_users_has_him() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\ncallvault:x:996:995::/nonexistent:/bin/false\na b:x:7:7::/:\n";
        assert_eq!(name_in(users, 996).as_deref(), Some("callvault"));
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 7), None);
        assert_eq!(name_in(users, 1000), None);
    }

    #[test]
    fn words_are_quoted_as_a_shell_reads_them() {
        assert_eq!(quoted("backfill"), "backfill");
        assert_eq!(quoted("#996"), "'#996'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_file_of_ours_is_ours() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let owner = User::of(file.path()).unwrap();
        assert!(owner.is_none_or(|owner| owner == User::of_this_process()));
        assert!(User::of(Path::new("/nowhere")).is_err());
    }
}
