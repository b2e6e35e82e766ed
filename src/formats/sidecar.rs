//! The sidecar: the JSON document beside each recording that holds everything callvault knows about it.
//!
//! Its schema is versioned and documented in `docs/archive-format.md`. A sidecar is written once and never
//! rewritten. Readers ignore unknown members, so that later versions can add some.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, Text};
use crate::base::salt::Salt;
use crate::formats::raw_row::RawRow;

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "callvault-sidecar/1";

/// Members are written in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    pub schema: String,
    pub pbx: SidecarPbx,
    /// What the PBX calls the recording.
    pub recording: SidecarRecording,
    /// None for a voicemail message.
    pub call: Option<SidecarCall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<SidecarVoicemail>,
    pub times: SidecarTimes,
    /// Set by the archive when it stores the recording.
    pub file: FileFacts,
    pub audio: SidecarAudio,
    pub attempts: u32,
    pub archived_at: Timestamp,
    /// Makes the hash of this document a commitment that hides its content.
    pub salt: Salt,
    /// None in sidecars of version 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<SidecarOrigin>,
    pub program: Program,
}

/// How the audio came, and which installation wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarOrigin {
    /// The id of the run that wrote it, as in the log.
    pub run: String,
    /// How the PBX proved who it is: `pinned` (a key), `roots` (an authority), `plain` (not at all).
    pub transport: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// Only this installation can make and verify it. Set by the archive when it stores the recording.
    pub tag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarPbx {
    pub id: String,
    /// The serial number; empty if unknown.
    pub sn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarRecording {
    pub kind: RecordingKind,
    pub name: Text,
}

/// The call row that names the recording, and other rows that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarCall {
    pub identity: Digest,
    pub raw: RawRow,
    /// Rows of other calls that name the same recording, such as transfer legs.
    #[serde(default)]
    pub other_rows: Vec<SidecarCallRow>,
    /// How many more rows name it: too many for a sidecar, they are in the call lists of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_rows_left_out: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarCallRow {
    pub identity: Digest,
    pub raw: RawRow,
}

/// A voicemail message, as the PBX listed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarVoicemail {
    pub extension: String,
    /// Empty for an anonymous caller.
    pub caller: String,
    pub date: String,
    /// As the PBX states it, if that is a number.
    pub length_s: Option<u64>,
    /// `read` or `unread` when it was fetched, if the PBX said so.
    pub status: Option<String>,
    /// Counts messages that are equal in everything else, from 1.
    pub ordinal: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarTimes {
    pub started_at: Timestamp,
    /// The PBX's offset from UTC then, in seconds.
    pub utc_offset_s: i32,
    /// Where the offset comes from: `callid` or `zone`.
    pub offset_source: String,
    /// The offset by the configured time zone, if there is one.
    pub zone_offset_s: Option<i32>,
    /// `timestart` as the PBX gave it.
    pub local: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Relative to the root of the archive, with `/`.
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarAudio {
    /// The file format, such as `mp3` or `rf64`; none for a WAV file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The coding, such as `pcm`, `alaw`, `ulaw`, `gsm610`.
    pub format: String,
    pub tag: u16,
    pub channels: u16,
    pub sample_rate_hz: u32,
    /// Bits per sample; 0 where the coding has none.
    pub bits: u16,
    /// None if the header does not determine it.
    pub duration_ms: Option<u64>,
    pub suspect: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub version: String,
}

impl Program {
    pub fn this() -> Self {
        Self { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotASidecar {
    #[error("not a sidecar: {0}")]
    Json(#[from] serde_json::Error),
    #[error("sidecar has schema {0:?}, this version reads {SCHEMA:?}")]
    Schema(String),
}

impl Sidecar {
    /// Indented, in the order of the schema, with a newline at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("all keys of a sidecar are strings");
        bytes.push(b'\n');
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotASidecar> {
        let sidecar: Self = serde_json::from_slice(bytes)?;
        if sidecar.schema == SCHEMA { Ok(sidecar) } else { Err(NotASidecar::Schema(sidecar.schema)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Sidecar {
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
