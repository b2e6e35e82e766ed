//! On whose word a ledger goes on whose database was made anew.

use serde::{Deserialize, Serialize};

/// The key under which the database keeps them, as JSON.
pub const REBUILT: &str = "ledger_rebuilt";

/// A rebuild after which what came before rests on the word of others than our own key: certificates say so for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuiltOn {
    /// The entry that tells of it.
    pub ledger_number: i64,
    /// Whose word it is: `vkey`, `witness` or `none`.
    pub trust: String,
}

impl RebuiltOn {
    pub fn told(&self) -> &'static str {
        match self.trust.as_str() {
            "vkey" => "a key that the operator gave",
            "witness" => "a witness",
            _ => "nobody but the archive itself",
        }
    }
}
