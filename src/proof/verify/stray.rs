//! Files in the archive that callvault did not put there.
//!
//! The archive is written meanwhile, file first and row second, and a run that died may have left a file that the next one
//! takes. So a file is a stray only if it is still there, and after that still nothing accounts for it.

use std::collections::BTreeMap;

use super::Tools;
use super::damage::{Class, Damage, Thing};
use super::settle::Tally;
use crate::archive::{ArchiveError, Key, Reader, Standing};
use crate::base::blocking::blocking;
use crate::store::findings::FindingKind;
use crate::store::fixity::{self, Stray};

const PER_PAGE: usize = 500;

/// Looks again at what seemed to be strays, and keeps those that are.
pub(super) async fn judge_strays(
    tools: &Tools<'_>,
    tally: &mut Tally,
    pbx: &str,
    places: Vec<Key>,
) -> anyhow::Result<()> {
    let mut still = Vec::new();
    for page in places.chunks(PER_PAGE) {
        let there = still_there(tools, page.to_vec()).await?;
        let (named, unnameable): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|(place, _)| place.as_str().is_some());
        let strays: Vec<Stray> = named.iter().filter_map(|(place, _)| stray(pbx, place)).collect();
        let unaccounted = fixity::unaccounted(&mut *tools.vault.state.db.read().await?, &strays).await?;
        let named = named
            .into_iter()
            .filter(|(place, _)| unaccounted.iter().any(|path| place.as_str() == Some(path)));
        let damages: Vec<Damage> = unnameable
            .into_iter()
            .chain(named)
            .map(|(place, found)| {
                Damage::new(Class::Unlisted, Thing::Stray, pbx, place.as_bytes())
                    .told("nothing", shown(found))
            })
            .collect();
        still.extend(damages.iter().map(|damage| damage.path.clone()));
        tally.keep(tools, damages).await?;
    }
    tally.close_all_but(tools, pbx, &[FindingKind::FileUnlisted], still).await
}

async fn still_there(tools: &Tools<'_>, places: Vec<Key>) -> anyhow::Result<Vec<(Key, Standing)>> {
    let reader = tools.reader.clone();
    blocking(move || standings(&*reader, places)).await
}

fn standings(reader: &dyn Reader, places: Vec<Key>) -> Result<Vec<(Key, Standing)>, ArchiveError> {
    let mut listings = BTreeMap::new();
    let mut there = Vec::new();
    for place in places {
        let folder = place.folder();
        if !listings.contains_key(&folder) {
            let listing = match reader.list(&folder) {
                Err(ArchiveError::Planted { .. }) => None,
                listing => listing?,
            };
            listings.insert(folder.clone(), listing.unwrap_or_default());
        }
        let standing = listings[&folder].get(place.name()).copied();
        there.extend(standing.map(|standing| (place, standing)));
    }
    Ok(there)
}

/// What a file would be, by its name.
fn stray(pbx: &str, place: &Key) -> Option<Stray> {
    let path = place.as_str()?;
    let audio = path.strip_suffix(".json").unwrap_or(path);
    let kept_beside = audio.strip_suffix(".wav").and_then(|stem| stem.rsplit_once("~conflict-"));
    let original = match kept_beside {
        Some((stem, hash)) if hash.len() == 16 => format!("{stem}.wav"),
        _ => audio.to_owned(),
    };
    let (folder, name) = path.rsplit_once('/')?;
    // Call lists and certificates: they may be ones that are being written, or that a run wrote which died before it
    // could note that.
    let day_of_folder = || folder.strip_prefix(pbx).map(|day| day.trim_matches('/').replace('/', "-"));
    let list = name.strip_prefix("calls-").and_then(|rest| rest.strip_suffix(".jsonl"));
    let day = list.and_then(|_| day_of_folder());
    let certificate = revision(name).and_then(|revision| Some((day_of_folder()?, revision)));
    let (pbx, path, audio) = (pbx.to_owned(), path.to_owned(), audio.to_owned());
    Some(Stray { pbx, path, audio, place: original, day, certificate })
}

/// The revision of the certificate that a file would belong to, by its name.
fn revision(name: &str) -> Option<i64> {
    let (number, ending) = name.strip_prefix("certificate-")?.split_once('.')?;
    let revision: i64 = number.parse().ok()?;
    let endings = ["json", "json.sig", "names.jsonl", "html", "sha256"];
    let is_one = endings.contains(&ending) && number == revision.to_string();
    is_one.then_some(revision)
}

fn shown(standing: Standing) -> String {
    match standing {
        Standing::File { size_bytes } => format!("a file of {size_bytes} bytes"),
        Standing::Folder => "a folder".to_owned(),
        Standing::Other => "no regular file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_by_its_name_what_it_would_be() {
        let of = |path: &str| stray("hq", &Key::found(path).unwrap()).unwrap();
        let sidecar = of("hq/2026/11/21/a~conflict-0123456789abcdef.wav.json");
        assert_eq!(sidecar.audio, "hq/2026/11/21/a~conflict-0123456789abcdef.wav");
        assert_eq!((sidecar.place.as_str(), sidecar.day), ("hq/2026/11/21/a.wav", None));
        assert_eq!(of("hq/2026/11/21/calls-3.jsonl").day.as_deref(), Some("2026-11-21"));
        assert_eq!(of("hq/note").place, "hq/note");
        let signature = of("hq/2026/11/21/certificate-2.json.sig");
        assert_eq!(signature.certificate, Some(("2026-11-21".to_owned(), 2)));
        assert!(of("hq/2026/11/21/certificate-2.names.jsonl").certificate.is_some());
        assert_eq!(of("hq/2026/11/21/certificate-02.json").certificate, None);
    }
}
