//! One file instead of a folder: a ZIP that only stores, for audio does not get smaller.

use std::fs::File;
use std::io;
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What its owner and his group may read.
const MODE: u32 = 0o440;

/// Writes the files at `paths` below `folder` into `to`, under `top`.
///
/// The same files always make the same bytes: in the order given, without times or owners.
pub(super) fn write<'a>(
    to: File,
    top: &str,
    folder: &Path,
    paths: impl Iterator<Item = &'a str>,
) -> io::Result<File> {
    // Sizes in ZIP64 fields throughout, so that no recording is too large.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(MODE)
        .large_file(true);
    let mut zip = ZipWriter::new(to);
    for path in paths {
        zip.start_file(format!("{top}/{path}"), options)?;
        io::copy(&mut File::open(folder.join(path))?, &mut zip)?;
    }
    Ok(zip.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wav"), "audio").unwrap();
        let zipped = |name: &str| {
            let place = folder.path().join(name);
            let to = File::create_new(&place).unwrap();
            write(to, "bag", folder.path(), ["a.wav"].into_iter()).unwrap();
            std::fs::read(place).unwrap()
        };
        let (one, other) = (zipped("1.zip"), zipped("2.zip"));
        assert_eq!(one, other);
        assert!(
            one.windows(9).any(|bytes| bytes == b"bag/a.wav")
                && one.windows(5).any(|bytes| bytes == b"audio")
        );
    }
}
