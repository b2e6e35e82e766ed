//! From the bytes of an input to bytes in which ASCII is ASCII: what no call list can be is named, with what helps; UTF-16
//! becomes UTF-8.

use encoding_rs::{Decoder, Encoding, UTF_16BE, UTF_16LE};

/// The beginning of an input until it is known what it is, and the way of the rest.
pub(super) enum Input {
    Looking(Vec<u8>),
    Plain,
    Wide(Box<Decoder>),
    Refused,
}

impl Input {
    pub(super) fn new() -> Self {
        Self::Looking(Vec::new())
    }

    /// The name of its encoding, where that is certain.
    pub(super) fn encoding(&self) -> Option<&'static str> {
        match self {
            Self::Wide(decoder) => Some(decoder.encoding().name()),
            _ => None,
        }
    }

    /// Takes more of the input, or its end. Gives the bytes to read, or what the input is instead of a call list.
    pub(super) fn push(&mut self, bytes: &[u8], is_end: bool) -> Result<Vec<u8>, Container> {
        let held = match self {
            Self::Looking(held) => {
                held.extend_from_slice(bytes);
                if held.len() < LOOK_BYTES && !is_end {
                    return Ok(Vec::new());
                }
                std::mem::take(held)
            }
            Self::Plain => return Ok(bytes.to_vec()),
            Self::Wide(decoder) => return Ok(narrow(decoder, bytes, is_end)),
            Self::Refused => return Ok(Vec::new()),
        };
        let head = &held[..held.len().min(LOOK_BYTES)];
        let wide = if Container::of(head).is_some() { None } else { wide_encoding(head) };
        let container = match wide {
            Some(encoding) => Container::of_text(&encoding.decode(head).0),
            None => Container::of(head),
        };
        if let Some(container) = container {
            *self = Self::Refused;
            return Err(container);
        }
        let Some(encoding) = wide else {
            *self = Self::Plain;
            return Ok(held);
        };
        let mut decoder = Box::new(encoding.new_decoder_with_bom_removal());
        let bytes = narrow(&mut decoder, &held, is_end);
        *self = Self::Wide(decoder);
        Ok(bytes)
    }
}

/// UTF-16 of either order: by its mark, or by the zeros in one half of its code units.
fn wide_encoding(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [0xff, 0xfe, ..] => return Some(UTF_16LE),
        [0xfe, 0xff, ..] => return Some(UTF_16BE),
        _ => {}
    }
    let units = head.len() / 2;
    let zeros =
        |half: usize| head[..units * 2].iter().skip(half).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Commas and digits are ASCII in any language: each has a zero, and always in the same half.
    let is_wide = |here: usize, there: usize| units >= 4 && here * 10 >= units * 3 && there * 20 <= units;
    let encoding = if is_wide(odd, even) { UTF_16LE } else { UTF_16BE };
    let is_text =
        || encoding.decode_without_bom_handling_and_without_replacement(&head[..units * 2]).is_some();
    ((is_wide(odd, even) || is_wide(even, odd)) && is_text()).then_some(encoding)
}

/// Transcodes to UTF-8. What is no UTF-16 becomes U+FFFD.
fn narrow(decoder: &mut Decoder, bytes: &[u8], is_end: bool) -> Vec<u8> {
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()));
    let mut at = 0;
    loop {
        let (result, read, _) = decoder.decode_to_string(&bytes[at..], &mut text, is_end);
        at += read;
        match result {
            encoding_rs::CoderResult::InputEmpty => return text.into_bytes(),
            encoding_rs::CoderResult::OutputFull => text.reserve(64 + 3 * (bytes.len() - at)),
        }
    }
}

/// How many bytes of an input are looked at before it is read.
pub(super) const LOOK_BYTES: usize = 1024;

/// A kind of file that holds no call list as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Container {
    is: &'static str,
    remedy: &'static str,
}

/// A file's first bytes, what it is, and what helps.
type Magic = (&'static [u8], &'static str, &'static str);

const SPREADSHEET: &str = "export the list from the PBX again, as CSV; if there is only this file, save it as CSV in the \
                           program that wrote it";
const UNPACK: &str = "unpack it and give the CSV file that is in it";
const AS_CSV: &str = "export the list from the PBX again, as CSV";

const MAGICS: [Magic; 15] = [
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls), or a protected one", SPREADSHEET),
    (b"ID;P", "a spreadsheet in the SYLK format", SPREADSHEET),
    (b"\x1f\x8b", "compressed with gzip", UNPACK),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"%PDF-", "a PDF document", AS_CSV),
    (b"{\\rtf", "a document in rich text (RTF)", AS_CSV),
    (b"SQLite format 3\0", "an SQLite database", AS_CSV),
    (b"RIFF", "audio (WAV)", "give the list of calls, not a recording"),
    (b"ID3", "audio (MP3)", "give the list of calls, not a recording"),
    (b"\xff\xfe\0\0", "text in UTF-32", "save it as UTF-8"),
    (b"\0\0\xfe\xff", "text in UTF-32", "save it as UTF-8"),
];

/// What stands in a ZIP archive's beginning, and what the archive then is.
const ZIPPED: [Magic; 4] = [
    (b"application/vnd.oasis.opendocument.spreadsheet", "a spreadsheet (.ods)", SPREADSHEET),
    (b"xl/", "an Excel workbook (.xlsx)", SPREADSHEET),
    (b"[Content_Types].xml", "an Excel workbook (.xlsx)", SPREADSHEET),
    (b"word/", "a Word document", AS_CSV),
];

const LOGIN: &str = "it may be a login or error page of the PBX: export the list as CSV while logged in";

impl Container {
    /// What the beginning of an input shows it to be; `None` if it may be a call list.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        if let Some((_, is, remedy)) = MAGICS.iter().find(|(magic, ..)| head.starts_with(magic)) {
            return Some(Self { is, remedy });
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            let holds = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
            let office = ZIPPED.iter().find(|(part, ..)| holds(part));
            let (_, is, remedy) = office.copied().unwrap_or((b"", "a ZIP archive", UNPACK));
            return Some(Self { is, remedy });
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
            let (is, remedy) = match () {
                () if rest.contains("office:spreadsheet") || rest.contains("excel.sheet") => {
                    ("a spreadsheet in Excel's XML format", SPREADSHEET)
                }
                () if rest.starts_with("?xml") && !rest.contains("html") => ("XML", AS_CSV),
                () if rest.contains("<table") || rest.starts_with("table") => {
                    ("HTML with a table, as some programs save for spreadsheets", SPREADSHEET)
                }
                () => ("HTML, a page of a web server", LOGIN),
            };
            return Some(Self { is, remedy });
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

    fn read(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut input = Input::new();
        let mut all = Vec::new();
        let outputs = bytes.chunks(step.max(1)).map(|chunk| (chunk, false)).chain([(&[][..], true)]);
        for (chunk, is_end) in outputs {
            match input.push(chunk, is_end) {
                Ok(bytes) => all.extend(bytes),
                Err(container) => panic!("{container:?}"),
            }
        }
        all
    }

    #[test]
    fn utf_16_of_either_order_becomes_utf_8_with_and_without_its_mark() {
        let text = "callid,recording,姓名\r\n1709287502.1,a.wav,张三\r\n".repeat(60);
        let wide = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (mark, bytes) in
            [(&b"\xff\xfe"[..], wide(u16::to_le_bytes)), (&b"\xfe\xff"[..], wide(u16::to_be_bytes))]
        {
            for step in [1, 7, 100_000] {
                assert_eq!(read(&bytes, step), text.as_bytes());
                assert_eq!(read(&[mark, &bytes].concat(), step), text.as_bytes());
            }
        }
        for plain in
            [&b"callid,recording\n\0\0\0\0"[..], b"", b"a", b"\0\0\0\0\0\0\0\0", "callid,录音\n".as_bytes()]
        {
            assert_eq!(read(plain, 1), plain);
        }
    }
}

#[cfg(test)]
mod container_tests {
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
