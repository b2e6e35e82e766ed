//! Where the configuration's secrets stand, so that it can be looked at again whether others can read them.

use std::path::PathBuf;

use super::problem::Position;

/// A file that holds a secret, and where the configuration names it. systemd's credentials are none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The file: the configuration itself, if the secret stands in it.
    pub path: PathBuf,
    /// The key that names it, with its section, such as `pbx.password_file`.
    pub key: String,
    pub position: Position,
}
