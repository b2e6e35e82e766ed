//! Whose archive it is, and which of its folders are to be read.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::marker::Marker;
use crate::archive::survey;
use crate::archive::{ArchiveError, Reader};
use crate::config::Config;

use super::report::{Damage, Report};
use crate::proof::notary::FOLDER as LEDGER;

/// Why a PBX is left out of which nothing is found.
const NOTHING_THERE: &str = "it has no files there: nothing was archived yet, or the folder is not mounted";

#[derive(Debug, thiserror::Error)]
pub enum CannotRebuild {
    #[error(
        "{path} holds no archive: no PBX has a folder there with a `.callvault` marker; mount it or correct `[archive] \
         path`. An installation without recordings needs no rebuild: start it with `callvault run`"
    )]
    NoArchive { path: String },
    #[error(
        "the folders in {path} name different states ({owners}): choose one with `--state-id ID`; callvault leaves out the \
         folders of the others"
    )]
    SeveralStates { path: String, owners: String },
    #[error("no folder in {path} names the state {state_id}: they name {owners}")]
    NobodyElse { path: String, state_id: String, owners: String },
    /// There is a key, and the ledger is another's.
    #[error(
        "the ledger in the archive is signed, but not with the key of this state: somebody else wrote it, or the key is \
         not the one that signed. Restore the folder `_ledger` or the file `ledger.key` from a backup; or give the key that \
         signed with `--vkey`, if you know it from outside the archive; or move `ledger.key` away: callvault then accepts \
         the ledger as it is, and every later certificate says so"
    )]
    OthersLedger,
    #[error("`--vkey {0}` is not a ledger key: give it as `callvault ledger` prints it, `<name>+<id>+<key>`")]
    NoKey(String),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pbxs: Vec<String>,
    pub(super) has_ledger: bool,
    /// Whose state it is, what is left out, and what is damaged so far.
    pub(super) report: Report,
}

/// The owner of a folder by its marker; none if there is no marker.
type Claim = Result<Option<Marker>, ArchiveError>;

impl Plan {
    /// Reads all markers. `wanted` is the state that the operator named, if he did.
    pub(super) fn of(config: &Config, archive: &dyn Reader, wanted: Option<&str>) -> anyhow::Result<Self> {
        let path = config.archive.path.display().to_string();
        let there = survey::pbxs(archive)?;
        let claims: BTreeMap<&str, Claim> =
            there.iter().map(|name| (name.as_str(), survey::owner(archive, name))).collect();
        let ledger = survey::owner(archive, LEDGER);
        let configured = |name: &str| config.pbx.iter().any(|pbx| pbx.id == name);
        // An archive may be shared: folders of PBXs that are not configured here are somebody else's until shown ours.
        let ours = claims.iter().filter(|(name, _)| configured(name)).chain([(&LEDGER, &ledger)]);
        let owners: BTreeMap<&str, &str> = ours
            .filter_map(|(name, claim)| Some((*name, claim.as_ref().ok()?.as_ref()?.state_id.as_str())))
            .collect();
        let report = Report { state_id: choose(&path, &owners, wanted)?, ..Report::default() };
        let mut plan = Self { pbxs: Vec::new(), has_ledger: true, report };
        for (name, claim) in &claims {
            plan.add(name, claim, configured(name), archive);
        }
        for pbx in config.pbx.iter().filter(|pbx| !claims.contains_key(pbx.id.as_str())) {
            plan.report.left_out.insert(pbx.id.clone(), NOTHING_THERE.to_owned());
        }
        plan.add_ledger(&ledger);
        Ok(plan)
    }

    fn add(&mut self, name: &str, claim: &Claim, is_configured: bool, archive: &dyn Reader) {
        match claim {
            Ok(Some(owner)) if owner.state_id == self.report.state_id => self.pbxs.push(name.to_owned()),
            Ok(Some(owner)) if is_configured => {
                let reason = format!("its folder belongs to another state ({})", owner.state_id);
                self.report.left_out.insert(name.to_owned(), reason);
            }
            // Somebody else's, or no PBX at all.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) if !is_configured => {}
            Ok(None) if survey::folders(archive, name).is_empty() => {
                drop(self.report.left_out.insert(name.to_owned(), NOTHING_THERE.to_owned()))
            }
            Ok(None) => {
                let problem =
                    "its marker `.callvault` is missing: restore it from a backup, the service needs it";
                self.read_all_the_same(name, problem.to_owned());
            }
            Err(error) => self.read_all_the_same(name, error.to_string()),
        }
    }

    /// The marker of the ledger is made again by whoever opens it; what was signed is known by its keys.
    fn add_ledger(&mut self, claim: &Claim) {
        let problem = match claim {
            Ok(Some(owner)) if owner.state_id != self.report.state_id => {
                self.has_ledger = false;
                format!("it belongs to another state ({}); callvault does not read it", owner.state_id)
            }
            Ok(_) => return,
            Err(error) => error.to_string(),
        };
        self.report.note(Damage::of("", LEDGER, problem));
    }

    /// What lies in the folder of a configured PBX is most likely its own.
    fn read_all_the_same(&mut self, name: &str, problem: String) {
        self.pbxs.push(name.to_owned());
        self.report.note(Damage::of(name, name, problem));
    }
}

/// The one state that the markers name, or the one asked for among them.
fn choose(path: &str, owners: &BTreeMap<&str, &str>, wanted: Option<&str>) -> Result<String, CannotRebuild> {
    let path = path.to_owned();
    let states: BTreeSet<&str> = owners.values().copied().collect();
    let named =
        || owners.iter().map(|(name, state)| format!("{name}: {state}")).collect::<Vec<_>>().join(", ");
    match (wanted, states.len()) {
        (_, 0) => Err(CannotRebuild::NoArchive { path }),
        (Some(wanted), _) if states.contains(wanted) => Ok(wanted.to_owned()),
        (Some(wanted), _) => {
            Err(CannotRebuild::NobodyElse { path, state_id: wanted.to_owned(), owners: named() })
        }
        (None, 1) => Ok(states.into_iter().collect()),
        (None, _) => Err(CannotRebuild::SeveralStates { path, owners: named() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_the_one_that_all_name_or_the_one_asked_for() {
        let one = BTreeMap::from([("hq", "a"), ("lyon", "a")]);
        let two = BTreeMap::from([("hq", "a"), ("lyon", "b")]);
        let chosen = |owners: &BTreeMap<&str, &str>, wanted: Option<&str>| {
            choose("/srv", owners, wanted).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&one, None), Ok("a".into()));
        assert_eq!(chosen(&two, Some("b")), Ok("b".into()));
        assert!(chosen(&two, None).unwrap_err().contains("hq: a, lyon: b"));
        assert!(chosen(&one, Some("c")).unwrap_err().contains("names the state c"));
        assert!(chosen(&BTreeMap::new(), Some("a")).unwrap_err().contains("holds no archive"));
    }
}
