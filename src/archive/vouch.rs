//! How an installation knows again what it wrote itself.
//!
//! Anyone who can write to the archive can put any audio under any name, and a sidecar beside it. So each sidecar bears a tag
//! under a key that lies in the state alone:
//!
//! ```text
//! tag = HMAC-SHA-256(state/adopt.key, "callvault-adopt/1" ‖ 0x00 ‖ path ‖ 0x00 ‖ the sidecar with an empty tag)
//! ```
//!
//! The sidecar names the recording, its serial number, the size and the hash of the audio: the tag binds all of them to the
//! place. A pair that is put back where it stood once is accepted, and was delivered for that place.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::base::digest::{hex, unhex};
use crate::formats::sidecar::{Sidecar, SidecarOrigin};

/// What the tag is for: no other use of the key can make one.
const DOMAIN: &[u8] = b"callvault-adopt/1\0";

/// The secret of a state by which it knows its own sidecars.
#[derive(Clone)]
pub struct VouchKey([u8; 32]);

impl fmt::Debug for VouchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VouchKey(..)")
    }
}

impl VouchKey {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Sets the tag of a sidecar that stands beside the audio at `path`, relative to the root.
    pub(super) fn sign(&self, path: &str, sidecar: &mut Sidecar) {
        let tag = hex(&self.mac(path, sidecar).finalize().into_bytes());
        if let Some(origin) = &mut sidecar.origin {
            origin.tag = tag;
        }
    }

    /// Whether this state wrote the sidecar for the audio at `path`, relative to the root.
    pub fn vouches_for(&self, path: &str, sidecar: &Sidecar) -> bool {
        let tag = sidecar.origin.as_ref().and_then(|origin| unhex(&origin.tag));
        tag.is_some_and(|tag| self.mac(path, sidecar).verify_slice(&tag).is_ok())
    }

    fn mac(&self, path: &str, sidecar: &Sidecar) -> Hmac<Sha256> {
        let origin = sidecar.origin.clone().map(|origin| SidecarOrigin { tag: String::new(), ..origin });
        let untagged = Sidecar { origin, ..sidecar.clone() };
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.0).expect("an HMAC takes a key of any length");
        hmac.update(DOMAIN);
        hmac.update(path.as_bytes());
        hmac.update(b"\0");
        hmac.update(&untagged.to_bytes());
        hmac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::sidecar::tests::example;

    #[test]
    fn a_state_knows_its_own_sidecars_and_no_others() {
        let (ours, others) = (VouchKey::new([1; 32]), VouchKey::new([2; 32]));
        let mut sidecar = example();
        assert!(!ours.vouches_for("hq/2026/11/21/a.wav", &sidecar));
        ours.sign("hq/2026/11/21/a.wav", &mut sidecar);
        assert!(ours.vouches_for("hq/2026/11/21/a.wav", &sidecar));
        assert!(!others.vouches_for("hq/2026/11/21/a.wav", &sidecar));
        assert!(!ours.vouches_for("hq/2026/11/22/a.wav", &sidecar), "it is bound to its place");
        let again = Sidecar::from_bytes(&sidecar.to_bytes()).unwrap();
        assert!(ours.vouches_for("hq/2026/11/21/a.wav", &again));
        let changed = Sidecar { attempts: sidecar.attempts + 1, ..sidecar.clone() };
        assert!(!ours.vouches_for("hq/2026/11/21/a.wav", &changed));
        let without = Sidecar { origin: None, ..sidecar };
        assert!(!ours.vouches_for("hq/2026/11/21/a.wav", &without));
        assert_eq!(format!("{ours:?}"), "VouchKey(..)");
    }
}
