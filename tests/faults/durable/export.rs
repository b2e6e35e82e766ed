//! An export or a backup that was broken off: whatever has its name is whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::Command;

/// Checks the export or the backup at `out`, a folder or a ZIP of one. `false` if there is none.
pub(crate) fn is_whole(out: &Path) -> bool {
    let zip = out.with_extension("zip");
    if zip.exists() {
        check_zip(&zip);
    }
    if out.exists() {
        check_bag(out);
    }
    zip.exists() || out.exists()
}

fn check_bag(bag: &Path) {
    let manifests: &[&str] = match bag.join("SHA256SUMS").exists() {
        true => &["SHA256SUMS"],
        false => &["manifest-sha256.txt", "tagmanifest-sha256.txt"],
    };
    for manifest in manifests {
        let mut sums = Command::new("sha256sum");
        let checked = sums.args(["-c", "--strict", "--quiet", manifest]).current_dir(bag).output().unwrap();
        assert!(checked.status.success(), "{manifest}: {checked:?}");
    }
}

/// Reads each file to its end, where its checksum is compared.
fn check_zip(zip: &Path) {
    let mut zip = zip::ZipArchive::new(File::open(zip).unwrap()).unwrap();
    assert!(zip.file_names().any(|name| name.unwrap().ends_with("/tagmanifest-sha256.txt")));
    for at in 0..zip.len() {
        io::copy(&mut zip.by_index(at).unwrap().by_ref(), &mut io::sink()).unwrap();
    }
}
