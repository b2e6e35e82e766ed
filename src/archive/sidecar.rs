//! The sidecar: one JSON document beside each recording that says all that we know of it, for readers without us.
//!
//! Its schema is versioned and documented in `docs/archive-format.md`. A sidecar is written once and never
//! rewritten. Readers tolerate members that they do not know, so that later versions may add some.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, Text};
use crate::base::salt::Salt;
use crate::formats::raw_row::RawRow;

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "callvault-sidecar/1";

/// What a sidecar says. Members are written in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// [`SCHEMA`].
    pub schema: String,
    /// The PBX that held the recording.
    pub pbx: SidecarPbx,
    /// What the PBX calls the recording.
    pub recording: SidecarRecording,
    /// The call it belongs to; a voicemail message has none.
    pub call: Option<SidecarCall>,
    /// What the box told of it, if it is a voicemail message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<SidecarVoicemail>,
    /// When it was made.
    pub times: SidecarTimes,
    /// The audio file. [`Archive::keep`](super::Archive::keep) sets it to where and what it really wrote.
    pub file: FileFacts,
    /// What the audio is.
    pub audio: SidecarAudio,
    /// How many attempts it took.
    pub attempts: u32,
    /// When it was archived, UTC.
    pub archived_at: Timestamp,
    /// Makes the hash of this document a commitment that hides its content.
    pub salt: Salt,
    /// How the audio came, and that it was this installation that wrote it; none in sidecars of version 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SidecarOrigin>,
    /// What wrote it.
    pub program: Program,
}

/// How the audio came, and by whom it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarOrigin {
    /// The run that wrote it, as in the log.
    pub run: String,
    /// How the PBX was known: `pinned` (by its certificate's key), `roots` (by an authority), `plain` (not at all).
    pub transport: String,
    /// SHA-256 of the pinned key, if it was pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// What only this installation can make and verify; [`Archive::keep`](super::Archive::keep) sets it.
    pub tag: String,
}

/// The PBX of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarPbx {
    /// Its `id` in the configuration.
    pub id: String,
    /// Its serial number; empty if it was never learnt.
    pub sn: String,
}

/// The identity of a recording on its PBX.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarRecording {
    /// Call or voicemail.
    pub kind: RecordingKind,
    /// The name, any bytes at all.
    pub name: Text,
}

/// The call row that names the recording, and others that do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarCall {
    /// The identity of the call (design, section 1).
    pub identity: Digest,
    /// The row, as the PBX gave it.
    pub raw: RawRow,
    /// Rows of other calls that name the same recording, such as transfer legs.
    #[serde(default)]
    pub other_rows: Vec<SidecarCallRow>,
    /// How many more rows name it, which the call lists of its day tell and this does not, for they are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_rows_left_out: Option<u64>,
}

/// One further row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarCallRow {
    /// The identity of the call.
    pub identity: Digest,
    /// The row, as the PBX gave it.
    pub raw: RawRow,
}

/// A voicemail message, as its box showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarVoicemail {
    /// Whose box it was left in.
    pub extension: String,
    /// Who left it; empty for an anonymous caller.
    pub caller: String,
    /// When, as the PBX wrote it.
    pub date: String,
    /// How long it is by the PBX's word, if that is a number.
    pub length_s: Option<u64>,
    /// The folder that it was in when it was fetched, `read` or `unread`, if the PBX told.
    pub status: Option<String>,
    /// Which of the messages it is that are alike in all else, from 1.
    pub ordinal: u32,
}

/// When a recording was made, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarTimes {
    /// The start in UTC.
    pub started_at: Timestamp,
    /// The PBX's offset from UTC then, in seconds.
    pub utc_offset_s: i32,
    /// How that offset is known: `callid` or `zone`.
    pub offset_source: String,
    /// What the configured zone says, where there is one.
    pub zone_offset_s: Option<i32>,
    /// `timestart` as the PBX gave it.
    pub local: Text,
}

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Relative to the root of the archive, with `/`.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its hash.
    pub sha256: Digest,
}

/// What the audio is, by its own header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarAudio {
    /// A word for the file format, such as `mp3` or `rf64`; none if it is a WAV file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// A word for the coding, such as `pcm`, `alaw`, `ulaw`, `gsm610`.
    pub format: String,
    /// The format tag in the WAV header.
    pub tag: u16,
    /// Channels.
    pub channels: u16,
    /// Samples per second and channel.
    pub sample_rate_hz: u32,
    /// Bits per sample; 0 where the coding has none.
    pub bits: u16,
    /// Its length, if the header allows to tell.
    pub duration_ms: Option<u64>,
    /// What is odd about it; empty for most.
    pub suspect: Vec<String>,
}

/// The program that wrote a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Program {
    /// This program.
    pub fn this() -> Self {
        Self { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// Bytes that cannot be read as a sidecar of a schema that we know.
#[derive(Debug, thiserror::Error)]
pub enum NotASidecar {
    /// It is not the JSON of a sidecar.
    #[error("not a sidecar: {0}")]
    Json(#[from] serde_json::Error),
    /// It is one of a version that came after this program.
    #[error("sidecar has schema {0:?}, this version reads {SCHEMA:?}")]
    Schema(String),
}

impl Sidecar {
    /// The document as it is written: indented, in the order of the schema, with a newline at its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("all keys of a sidecar are strings");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document of this schema; members that it does not know are passed over.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotASidecar> {
        let sidecar: Self = serde_json::from_slice(bytes)?;
        match sidecar.schema == SCHEMA {
            true => Ok(sidecar),
            false => Err(NotASidecar::Schema(sidecar.schema)),
        }
    }
}

/// A sidecar, for tests.
#[cfg(test)]
pub(super) fn example() -> Sidecar {
    let cell = |heading: &str, text: &str| (heading.to_owned(), Text::Utf8(text.to_owned()));
    Sidecar {
        schema: SCHEMA.to_owned(),
        pbx: SidecarPbx { id: "hq".to_owned(), sn: "3633D2199912".to_owned() },
        recording: SidecarRecording {
            kind: RecordingKind::Call,
            name: Text::from_bytes(b"20261121-1001-\xff.wav"),
        },
        call: Some(SidecarCall {
            identity: Digest::of("call"),
            raw: RawRow::new([cell("timestart", "2026-11-21 09:00:00"), cell("pincode", "4711")]),
            other_rows: vec![SidecarCallRow {
                identity: Digest::of("leg"),
                raw: RawRow::new([cell("z", "1"), cell("a", "2")]),
            }],
            other_rows_left_out: None,
        }),
        voicemail: None,
        times: SidecarTimes {
            started_at: "2026-11-21T01:00:00Z".parse().unwrap(),
            utc_offset_s: 28800,
            offset_source: "callid".to_owned(),
            zone_offset_s: None,
            local: Text::Utf8("2026-11-21 09:00:00".to_owned()),
        },
        file: FileFacts {
            path: "hq/2026/11/21/a.wav".to_owned(),
            size_bytes: 44,
            sha256: Digest::of("audio"),
        },
        audio: SidecarAudio {
            container: None,
            format: "gsm610".to_owned(),
            tag: 49,
            channels: 1,
            sample_rate_hz: 8000,
            bits: 0,
            duration_ms: Some(2000),
            suspect: vec!["silent".to_owned()],
        },
        attempts: 1,
        archived_at: "2026-11-21T01:02:03Z".parse().unwrap(),
        salt: Salt::from([7; 32]),
        origin: Some(SidecarOrigin {
            run: "0123456789abcdef".to_owned(),
            transport: "pinned".to_owned(),
            key_sha256: Some("b5d2".to_owned()),
            tag: String::new(),
        }),
        program: Program { name: "callvault".to_owned(), version: "0.1.0".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_this_document() {
        let document = String::from_utf8(example().to_bytes()).unwrap();
        assert!(document.ends_with("}\n"));
        insta::assert_snapshot!(document, @r#"
        {
          "schema": "callvault-sidecar/1",
          "pbx": {
            "id": "hq",
            "sn": "3633D2199912"
          },
          "recording": {
            "kind": "call",
            "name": {
              "hex": "32303236313132312d313030312dff2e776176"
            }
          },
          "call": {
            "identity": "7edb360f06acaef2cc80dba16cf563f199d347db4443da04da0c8173e3f9e4ed",
            "raw": {
              "timestart": "2026-11-21 09:00:00",
              "pincode": ""
            },
            "other_rows": [
              {
                "identity": "c7c8fc91abb8ed76c29a883381b92612dcd8235d6e7ddca8d81f6e87d5fab417",
                "raw": {
                  "z": "1",
                  "a": "2"
                }
              }
            ]
          },
          "times": {
            "started_at": "2026-11-21T01:00:00Z",
            "utc_offset_s": 28800,
            "offset_source": "callid",
            "zone_offset_s": null,
            "local": "2026-11-21 09:00:00"
          },
          "file": {
            "path": "hq/2026/11/21/a.wav",
            "size_bytes": 44,
            "sha256": "6ed8919ce20490a5e3ad8630a4fab69475297abd07db73918dd5f36fcfaeb11b"
          },
          "audio": {
            "format": "gsm610",
            "tag": 49,
            "channels": 1,
            "sample_rate_hz": 8000,
            "bits": 0,
            "duration_ms": 2000,
            "suspect": [
              "silent"
            ]
          },
          "attempts": 1,
          "archived_at": "2026-11-21T01:02:03Z",
          "salt": "0707070707070707070707070707070707070707070707070707070707070707",
          "origin": {
            "run": "0123456789abcdef",
            "transport": "pinned",
            "key_sha256": "b5d2",
            "tag": ""
          },
          "program": {
            "name": "callvault",
            "version": "0.1.0"
          }
        }
        "#);
    }

    #[test]
    fn a_sidecar_reads_what_it_wrote_and_passes_over_what_is_new() {
        let bytes = example().to_bytes();
        let again = Sidecar::from_bytes(&bytes).unwrap();
        assert_eq!(again, example());
        assert_eq!(again.to_bytes(), bytes);
        let later = String::from_utf8(bytes).unwrap().replacen('{', "{\"transcript\": {\"text\": []},", 1);
        assert_eq!(Sidecar::from_bytes(later.as_bytes()).unwrap(), example());
    }

    #[test]
    fn another_schema_is_not_guessed_at() {
        let later = String::from_utf8(example().to_bytes()).unwrap().replace("sidecar/1", "sidecar/2");
        assert!(matches!(Sidecar::from_bytes(later.as_bytes()).unwrap_err(), NotASidecar::Schema(_)));
        assert!(matches!(Sidecar::from_bytes(b"").unwrap_err(), NotASidecar::Json(_)));
    }
}
