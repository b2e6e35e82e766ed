//! What a file is that is no call list: named, with what helps.

/// How many bytes of an input are looked at before it is read.
pub(super) const LOOK_BYTES: usize = 1024;

/// A kind of file that holds no call list as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Container {
    is: &'static str,
    remedy: &'static str,
}

/// A file's first bytes, what it is, and what helps.
type Magic = (&'static [u8], Container);

const SPREADSHEET: &str = "export the list from the PBX again, as CSV; if there is only this file, save it as CSV in the \
                           program that wrote it";
const UNPACK: &str = "unpack it and give the CSV file that is in it";
const AS_CSV: &str = "export the list from the PBX again, as CSV";

const MAGICS: [Magic; 15] = [
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        Container { is: "an Excel workbook (.xls), or a protected one", remedy: SPREADSHEET },
    ),
    (b"ID;P", Container { is: "a spreadsheet in the SYLK format", remedy: SPREADSHEET }),
    (b"\x1f\x8b", Container { is: "compressed with gzip", remedy: UNPACK }),
    (b"BZh", Container { is: "compressed with bzip2", remedy: UNPACK }),
    (b"\xfd7zXZ\0", Container { is: "compressed with xz", remedy: UNPACK }),
    (b"\x28\xb5\x2f\xfd", Container { is: "compressed with zstd", remedy: UNPACK }),
    (b"7z\xbc\xaf\x27\x1c", Container { is: "a 7z archive", remedy: UNPACK }),
    (b"Rar!\x1a\x07", Container { is: "a RAR archive", remedy: UNPACK }),
    (b"%PDF-", Container { is: "a PDF document", remedy: AS_CSV }),
    (b"{\\rtf", Container { is: "a document in rich text (RTF)", remedy: AS_CSV }),
    (b"SQLite format 3\0", Container { is: "an SQLite database", remedy: AS_CSV }),
    (b"RIFF", Container { is: "audio (WAV)", remedy: "give the list of calls, not a recording" }),
    (b"ID3", Container { is: "audio (MP3)", remedy: "give the list of calls, not a recording" }),
    (b"\xff\xfe\0\0", Container { is: "text in UTF-32", remedy: "save it as UTF-8" }),
    (b"\0\0\xfe\xff", Container { is: "text in UTF-32", remedy: "save it as UTF-8" }),
];

/// What stands in a ZIP archive's beginning, and what the archive then is.
const ZIPPED: [(&[u8], Container); 4] = [
    (
        b"application/vnd.oasis.opendocument.spreadsheet",
        Container { is: "a spreadsheet (.ods)", remedy: SPREADSHEET },
    ),
    (b"xl/", Container { is: "an Excel workbook (.xlsx)", remedy: SPREADSHEET }),
    (b"[Content_Types].xml", Container { is: "an Excel workbook (.xlsx)", remedy: SPREADSHEET }),
    (b"word/", Container { is: "a Word document", remedy: AS_CSV }),
];

const LOGIN: &str = "it may be a login or error page of the PBX: export the list as CSV while logged in";

impl Container {
    /// What the beginning of an input shows it to be; `None` if it may be a call list.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        if let Some((_, container)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Some(*container);
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            let holds = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
            let office = ZIPPED.iter().find(|(part, _)| holds(part)).map(|(_, container)| *container);
            return Some(office.unwrap_or(Self { is: "a ZIP archive", remedy: UNPACK }));
        }
        if head.get(257..262) == Some(b"ustar") {
            return Some(Self { is: "a tar archive", remedy: UNPACK });
        }
        Self::of_text(&String::from_utf8_lossy(head))
    }

    /// The same of an input that is text.
    pub(super) fn of_text(head: &str) -> Option<Self> {
        let text = head.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
        if let Some(rest) = text.strip_prefix('<') {
            return Some(match rest {
                rest if rest.contains("office:spreadsheet") || rest.contains("excel.sheet") => {
                    Self { is: "a spreadsheet in Excel's XML format", remedy: SPREADSHEET }
                }
                rest if rest.starts_with("?xml") && !rest.contains("html") => {
                    Self { is: "XML", remedy: AS_CSV }
                }
                rest if rest.contains("<table") || rest.starts_with("table") => Self {
                    is: "HTML with a table, as some programs save for spreadsheets",
                    remedy: SPREADSHEET,
                },
                _ => Self { is: "HTML, a page of a web server", remedy: LOGIN },
            });
        }
        let is_json = text.starts_with('{') || text.starts_with("[{") || text == "[]";
        is_json.then_some(match text.contains("errno") || text.contains("\"failed\"") {
            true => Self { is: "an error message of the PBX (JSON)", remedy: "ask for the list again" },
            false => Self { is: "JSON", remedy: AS_CSV },
        })
    }

    /// What it is, and what helps: a fragment that follows the name of the input and a colon.
    pub fn sentence(self) -> String {
        format!("it is {}: {}", self.is, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_call_list_is_named() {
        for (head, named) in [
            (&b"PK\x03\x04....[Content_Types].xml..xl/workbook.xml"[..], ".xlsx"),
            (b"PK\x03\x04....cdr.csv", "ZIP"),
            (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", ".ods"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"%PDF-1.4", "PDF"),
            (b"\xef\xbb\xbf<!DOCTYPE html>", "HTML"),
            (b"<html><body><table><tr>", "table"),
            (b"<?xml version=\"1.0\"?><?mso-application progid=\"Excel.Sheet\"?>", "Excel"),
            (b"{\"status\":\"Failed\",\"errno\":\"20004\"}", "error message"),
            (b" {\"rows\":[]}", "JSON"),
            (b"\xff\xfe\0\0c\0\0\0", "UTF-32"),
        ] {
            let sentence = Container::of(head).map(Container::sentence).unwrap_or_default();
            assert!(sentence.contains(named), "{named}: {sentence}");
        }
        for head in [
            &b""[..],
            b"callid,recording\n",
            b"\"callid\";\"recording\"",
            b"sep=;\n",
            b"Call Detail Record\n",
        ] {
            assert_eq!(Container::of(head), None);
        }
    }
}
