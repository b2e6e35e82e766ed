//! Writes a pin into the configuration file, and changes nothing else in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use super::ConfigErrors;
use super::file::{read_file, reason};
use crate::base::digest::{Digest, hex};

const KEY: &str = "tls_pin_sha256";

/// Why a pin was not written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read any more.
    #[error(transparent)]
    Unreadable(#[from] ConfigErrors),
    /// The file is not what it was, or too unusual to be edited.
    #[error("{}: the section of pbx `{id}` was not found in it", .file.display())]
    NotFound { file: PathBuf, id: String },
    #[error("{} cannot be written ({why})", .file.display())]
    Unwritable { file: PathBuf, why: String },
}

/// The line that pins a key.
pub fn pin_line(pin: Digest) -> String {
    format!("{KEY} = \"sha256:{pin}\"")
}

/// Pins `pin` in the `[[pbx]]` called `id` of the configuration file. Everything else in it stays as it is, byte for
/// byte, and the file keeps its owner and mode; it is replaced whole, or not at all.
///
/// # Errors
/// If the file cannot be read or written, or has no such section.
pub fn write_pin(file: &Path, id: &str, pin: Digest) -> Result<(), PinError> {
    let unwritable = |error: io::Error| PinError::Unwritable { file: file.to_owned(), why: reason(&error) };
    // Where the path is a link, what it leads to is the file.
    let target = fs::canonicalize(file).map_err(unwritable)?;
    let (text, _) = read_file(&target)?;
    let pinned = pinned(&text, id, pin);
    let pinned = pinned.ok_or_else(|| PinError::NotFound { file: file.to_owned(), id: id.to_owned() })?;
    replace(&target, &pinned).map_err(unwritable)
}

/// The text with the pin in it; `None` if there is no such section, or it is written in a way that defeats us.
pub fn pinned(text: &str, id: &str, pin: Digest) -> Option<String> {
    let edited = edited(text, id, pin)?;
    let document = Document::parse(without_mark(&edited)).ok()?;
    let written = section_of(document.as_item().get("pbx")?, id)?.table.get(KEY)?.as_str()?;
    (Digest::from_fingerprint(written) == Some(pin)).then_some(edited)
}

/// The parser only tells the places: written out by it, the text would lose its line ends and byte order mark.
fn edited(text: &str, id: &str, pin: Digest) -> Option<String> {
    let body = without_mark(text);
    let shift = text.len() - body.len();
    let document = Document::parse(body).ok()?;
    let section = section_of(document.as_item().get("pbx")?, id)?;
    if let Some(old) = section.table.get(KEY) {
        let place = old.span()?;
        return Some(spliced(text, shift + place.start, shift + place.end, &format!("\"sha256:{pin}\"")));
    }
    let end = shift + section.table.get("url")?.span()?.end;
    if section.is_inline {
        return Some(spliced(text, end, end, &format!(", {}", pin_line(pin))));
    }
    // Below the URL's line, whatever comment ends that line.
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    match text[end..].find('\n') {
        Some(at) => {
            let next = end + at + 1;
            Some(spliced(text, next, next, &format!("{}{line_end}", pin_line(pin))))
        }
        None => Some(format!("{text}{line_end}{}{line_end}", pin_line(pin))),
    }
}

/// Editors on Windows put a byte order mark first.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A section, and whether it is written on one line.
struct PbxTable<'a> {
    table: &'a dyn TableLike,
    is_inline: bool,
}

/// The `[[pbx]]` of this id, or the `{ … }` in a list of them.
fn section_of<'a>(pbx: &'a Item, id: &str) -> Option<PbxTable<'a>> {
    let is_it = |table: &dyn TableLike| table.get("id").and_then(Item::as_str) == Some(id);
    if let Some(tables) = pbx.as_array_of_tables() {
        return tables.iter().find(|table| is_it(*table)).map(|table| PbxTable { table, is_inline: false });
    }
    let tables = pbx.as_array()?.iter().filter_map(|value| value.as_inline_table());
    tables.into_iter().find(|table| is_it(*table)).map(|table| PbxTable { table, is_inline: true })
}

fn spliced(text: &str, start: usize, end: usize, put: &str) -> String {
    format!("{}{put}{}", &text[..start], &text[end..])
}

/// Replaces the file by one with this text: temporary beside it, synced, renamed over it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", hex(&salt)));
    let written = write_like(&temporary, file, text).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // There may be none; the error that matters is the first.
        drop(fs::remove_file(&temporary));
    }
    written?;
    File::open(folder)?.sync_all()
}

/// Writes a new file with owner and mode of another.
fn write_like(new: &Path, like: &Path, text: &str) -> io::Result<()> {
    let metadata = fs::metadata(like)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(metadata.permissions().mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Digest {
        Digest::of("key")
    }

    #[test]
    fn a_pin_is_put_below_the_url_and_nothing_else_changes() {
        let text = "# mine\n[[pbx]]\nurl = 'https://a'\nid='a' # first\n\n  [[pbx]] # two\n  id = \"b\"\n  \
                    url = \"https://b\" # there\n# tls_pin_sha256 = \"old\"\nusername = 'x'\n[[exclude]]\nname = 'n'";
        let (before, after) = text.split_once("# there\n").unwrap();
        let expected = format!("{before}# there\ntls_pin_sha256 = \"sha256:{}\"\n{after}", pin());
        assert_eq!(pinned(text, "b", pin()).unwrap(), expected);
        assert_eq!(pinned(text, "c", pin()), None);
    }

    #[test]
    fn a_pin_replaces_the_one_before_where_it_stands() {
        let text = "[[pbx]]\ntls_pin_sha256 = 'ab:cd' # old\nid = 'a'\nurl = 'https://a'\n";
        let expected = text.replace("'ab:cd'", &format!("\"sha256:{}\"", pin()));
        assert_eq!(pinned(text, "a", pin()).unwrap(), expected);
        assert_eq!(pinned(&expected, "a", pin()).unwrap(), expected);
    }

    #[test]
    fn line_ends_a_byte_order_mark_and_sections_on_one_line_are_kept() {
        let line = pin_line(pin());
        let windows = "\u{feff}[[pbx]]\r\nid = 'é'\r\nurl = 'https://a'\r\nusername = 'x'\r\n";
        let expected = windows.replace("username", &format!("{line}\r\nusername"));
        assert_eq!(pinned(windows, "é", pin()).unwrap(), expected);
        let inline = "pbx = [{ id = 'a', url = 'https://a', username = 'x' }]";
        let expected = inline.replace(", username", &format!(", {line}, username"));
        assert_eq!(pinned(inline, "a", pin()).unwrap(), expected);
        let endless = "[[pbx]]\nid = 'a'\nurl = 'https://a'";
        assert_eq!(pinned(endless, "a", pin()).unwrap(), format!("{endless}\n{line}\n"));
    }

    #[test]
    fn a_file_keeps_its_owner_and_mode_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["real.toml", "link.toml"].map(|name| folder.path().join(name));
        fs::write(&file, "[[pbx]]\nid = 'a'\nurl = 'https://a'\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        // Only root can give files away; for others it stays theirs.
        drop(std::os::unix::fs::chown(&file, Some(1), Some(1)));
        let before = fs::metadata(&file).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_pin(&link, "a", pin()).unwrap();
        assert!(fs::read_to_string(&file).unwrap().ends_with(&format!("{}\n", pin_line(pin()))));
        let after = fs::metadata(&file).unwrap();
        assert_ne!(after.ino(), before.ino(), "it was replaced");
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary stays");
        let error = write_pin(&link, "b", pin()).unwrap_err().to_string();
        assert!(error.ends_with("link.toml: the section of pbx `b` was not found in it"), "{error}");
    }
}
