//! A family of PBXs that no other file knows: implementing the seam is all it takes to archive one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use bytes::Bytes;
use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::base::message::Message;
use callvault::base::recording::{RecordingName, Text};
use callvault::config::PbxConfig;
use callvault::formats::cdr::{CdrItem, CdrRow};
use callvault::formats::raw_row::RawRow;
use callvault::pbx::push::http::Receiver;
use callvault::pbx::{
    Abilities, Audio, Calls, Counted, DeviceInfo, Expected, Listed, Pbx, PbxError, Policy, Reason, Slot,
    VoicemailList,
};
use callvault::pipeline::backfill::{Connections, Request};
use callvault::pipeline::site::Connection;
use callvault::proof::sealed_vault::SealedVault;
use callvault::service::backfill::Backfill;
use futures_util::future::BoxFuture;
use jiff::civil::{DateTime, date};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::station::{NONE, config_at, counts};

const ID: &str = "hq";
const KEPT: &str = "kept.wav";
const LOST: &str = "lost.wav";

/// It holds one recording, names another one that it lost, and breaks off the first download.
#[derive(Debug, Default)]
struct Toy {
    downloads: Arc<AtomicU32>,
}

fn failed(policy: Policy, reason: Reason, what: &str) -> PbxError {
    PbxError::new(ID, policy, reason, what)
}

impl Pbx for Toy {
    fn id(&self) -> &str {
        ID
    }

    fn can(&self) -> Abilities {
        Abilities { calls: true, voicemail: false, events: false, recordings: false }
    }

    fn counters(&self) -> Counted {
        Counted::default()
    }

    fn device(&self) -> BoxFuture<'_, Result<Option<DeviceInfo>, PbxError>> {
        let device = DeviceInfo { sn: "TOY1".to_owned(), firmware: None, name: None, system_time: None };
        Box::pin(async { Ok(Some(device)) })
    }

    fn slot(&self) -> BoxFuture<'_, Box<dyn Slot>> {
        let downloads = Arc::clone(&self.downloads);
        Box::pin(async { Box::new(ToySlot { downloads }) as Box<dyn Slot> })
    }

    fn voicemail(&self) -> BoxFuture<'_, Result<Option<VoicemailList>, PbxError>> {
        Box::pin(async { Ok(None) })
    }

    fn lift_refusal(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn keep_events_coming<'a>(&'a self, _: &'a Receiver, _: &'a Notify) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

struct ToySlot {
    downloads: Arc<AtomicU32>,
}

impl Slot for ToySlot {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn calls(
        self: Box<Self>,
        from: DateTime,
        to: DateTime,
        _: Expected,
    ) -> BoxFuture<'static, Result<Box<dyn Calls>, PbxError>> {
        let all = [call("1710406800.1", 10, KEPT), call("1710410400.2", 11, LOST)];
        let listed = |call: &CdrRow| call.local_start().is_some_and(|start| from <= start && start <= to);
        let calls: Vec<CdrRow> = all.into_iter().filter(listed).rev().collect();
        Box::pin(async { Ok(Box::new(ToyCalls(calls)) as Box<dyn Calls>) })
    }

    fn recording<'a>(
        self: Box<Self>,
        name: &'a RecordingName,
    ) -> BoxFuture<'a, Result<Box<dyn Audio>, PbxError>> {
        Box::pin(async move {
            if name.as_bytes() == LOST.as_bytes() {
                return Err(failed(Policy::NotThere, Reason::Missing, "the toy lost it"));
            }
            let is_first = self.downloads.fetch_add(1, SeqCst) == 0;
            let mut parts = vec![wav()];
            if is_first {
                parts[0].truncate(1000);
            }
            Ok(Box::new(ToyAudio { parts, breaks_off: is_first }) as Box<dyn Audio>)
        })
    }

    fn mailbox<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<VoicemailList, PbxError>> {
        Box::pin(async { Ok(VoicemailList::default()) })
    }

    fn message<'a>(
        self: Box<Self>,
        _: &'a Message,
        _: usize,
    ) -> BoxFuture<'a, Result<Box<dyn Audio>, PbxError>> {
        Box::pin(async {
            Err(failed(
                Policy::NotThere,
                Reason::Deleted { beside_others: false },
                "the toy has no voicemail",
            ))
        })
    }
}

struct ToyCalls(Vec<CdrRow>);

impl Calls for ToyCalls {
    fn next(&mut self) -> BoxFuture<'_, Result<Listed, PbxError>> {
        let next = self.0.pop().map_or(Listed::Whole, |row| Listed::Item(CdrItem::Row(Box::new(row))));
        Box::pin(async { Ok(next) })
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

struct ToyAudio {
    parts: Vec<Vec<u8>>,
    breaks_off: bool,
}

impl Audio for ToyAudio {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PbxError>> {
        let next = match self.parts.pop() {
            None if self.breaks_off => Err(failed(Policy::Retry, Reason::Reset, "the toy fell over")),
            part => Ok(part.map(Bytes::from)),
        };
        Box::pin(async { next })
    }

    fn content_length(&self) -> Option<u64> {
        None
    }

    fn limit(&mut self, _: u64) {}
}

/// A call at this hour of 14 March 2024.
fn call(callid: &str, hour: i8, recording: &str) -> CdrRow {
    let start = date(2024, 3, 14).at(hour, 0, 0, 0).strftime("%F %T").to_string();
    let cells = [
        ("callid", callid),
        ("timestart", &start),
        ("callfrom", "1001"),
        ("callto", "1002"),
        ("talkduraction", "1"),
        ("status", "ANSWERED"),
        ("type", "Internal"),
        ("recording", recording),
        ("sn", "TOY1"),
    ];
    let text = |text: &str| Text::Utf8(text.to_owned());
    let raw = RawRow::new(cells.map(|(heading, value)| (heading.to_owned(), text(value))));
    let raw_cells = cells.map(|(heading, value)| (Arc::new(text(heading)), text(value)));
    CdrRow { raw: raw_cells.into(), ..CdrRow::from_raw(&raw).unwrap() }
}

/// One second of audio, 8 kHz with 16 bits.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> =
        (0..8000_i32).flat_map(|at| ((at * 37 % 20_000 - 10_000) as i16).to_le_bytes()).collect();
    let size = samples.len() as u32;
    let mut wav =
        [b"RIFF".as_slice(), &(size + 36).to_le_bytes(), b"WAVEfmt ", &16_u32.to_le_bytes()].concat();
    wav.extend([1_u16, 1].iter().flat_map(|field| field.to_le_bytes()));
    wav.extend([8000_u32, 16_000].iter().flat_map(|field| field.to_le_bytes()));
    wav.extend([2_u16, 16].iter().flat_map(|field| field.to_le_bytes()));
    wav.extend(b"data");
    wav.extend(size.to_le_bytes());
    wav.extend(samples);
    wav
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_that_only_this_file_knows_is_archived() {
    let folder = tempfile::tempdir().unwrap();
    let url = "http://192.0.2.1".parse().unwrap();
    let section = PbxConfig::for_url(ID, url, "v1.1.0".parse().unwrap(), "toy", "toy".to_owned());
    let config = config_at(folder.path(), section);
    let opened = SealedVault::open(config.clone(), Clock::system()).await.unwrap();
    let toy = Toy::default();
    let downloads = Arc::clone(&toy.downloads);
    let day = Some(date(2024, 3, 14));
    let request = Request { from: day, to: day, ..Request::default() };
    let connections = Connections::of([Connection::to(Arc::new(toy))]);
    let backfill = Backfill::new(&opened, request, connections, CancellationToken::new()).unwrap();
    let report = backfill.run(&mut ()).await.unwrap();

    assert_eq!(counts(&report), Counts { archived: 1, missing: 1, ..NONE }, "{report:?}");
    assert_eq!(downloads.load(SeqCst), 2, "the one that broke off was repeated");
    let archived = std::fs::read(folder.path().join("archive/hq/2024/03/14/kept.wav")).unwrap();
    assert_eq!(archived, wav());
    let db = callvault::store::db::open_read_only(&config.state.path).await.unwrap().unwrap();
    let states: Vec<(String, String)> =
        sqlx::query_as("select cast(name as text), state from recordings order by name")
            .fetch_all(&db)
            .await
            .unwrap();
    let expected = [(KEPT, "archived"), (LOST, "missing")];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
}
