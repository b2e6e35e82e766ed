//! `RESTORE.txt`: the steps from a backup to an installation that works.

use std::fmt::Write as _;

use super::Manifest;
use crate::base::users::quoted;

/// The text. Each line that begins with four blanks is a command.
pub(super) fn text(manifest: &Manifest) -> String {
    let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
    let Manifest { version, config_mode, owner, .. } = manifest;
    let made_at = manifest.made_at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let (config, state, archive) = (path(&manifest.config), path(&manifest.state), path(&manifest.archive));
    let folder = manifest.config.parent().map(&path).unwrap_or_default();
    let user = owner.trim_end_matches(':');
    format!(
        "Backup of callvault, made at {made_at} by version {version}.\n\
         \n\
         Whoever has it can sign the ledger, and reads who called whom: keep it encrypted where it leaves the machine.\n\
         Not in it: the archive with the recordings, which has copies of its own{secrets}.\n\
         \n\
         To restore, as root, in the folder that this file is in, with callvault installed (docs/install.md):\n\
         \n\
         1. See that the backup is whole.\n\
         \n\
         \x20   sha256sum --check --strict SHA256SUMS\n\
         \n\
         2. Stop the service.\n\
         \n\
         \x20   systemctl stop callvault\n\
         \n\
         3. See that the archive is there, at {archive}.\n\
         \n\
         4. Put the configuration in its place, and the secrets that it names in theirs.\n\
         \n\
         \x20   mkdir -p {folder}\n\
         \x20   install -m {config_mode} callvault.toml {config}\n\
         {config_owner}\
         \n\
         5. Move the broken state folder aside, if there is one, and put this one in its place.\n\
         \n\
         \x20   if [ -e {state} ]; then mv {state} {state}.before-restore; fi\n\
         \x20   mkdir -p {state}\n\
         \x20   chmod 0700 {state}\n\
         \x20   cp state/* {state}/\n\
         \x20   chmod 0600 {state}/*\n\
         \x20   chown -R {owner} {state}\n\
         \n\
         6. Bring the database up to date with the archive, which has gone on since, as the user {user} (where systemd hands\n\
         \x20  out the secrets: `cv rebuild`, as docs/install.md has it).\n\
         \n\
         \x20   setpriv --reuid={user} --regid={user} --clear-groups callvault --config {config} rebuild\n\
         \n\
         7. Start the service, and see that all is well.\n\
         \n\
         \x20   systemctl start callvault\n",
        secrets = secrets(manifest),
        config_owner = match u32::from_str_radix(config_mode, 8).unwrap_or_default() {
            mode if mode & 0o004 != 0 => String::new(),
            mode if mode & 0o040 != 0 => format!("    chgrp {user} {config}\n"),
            _ => format!("    chown {owner} {config}\n"),
        },
    )
}

/// What the operator has to keep himself.
fn secrets(manifest: &Manifest) -> String {
    let mut text = ", and secrets that callvault.toml names and\nthat are not in the state folder".to_owned();
    for (number, path) in manifest.secrets_elsewhere.iter().enumerate() {
        let before = if number == 0 { ": " } else { ", " };
        write!(text, "{before}{}", path.display()).expect("writing to a String cannot fail");
    }
    text
}
