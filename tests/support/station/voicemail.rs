//! What must hold of voicemail, told from the PBX's own messages: no code of the client is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use callvault::base::counts::Counts;
use callvault::base::digest::Digest;
use callvault::pipeline::backfill::{BackfillReport, Request};
use callvault::simulator::{SimAudio, SimVoicemail, SimulatorOptions};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tokio_util::sync::CancellationToken;

use super::{Station, noon, small, without_bytes};

/// All that a box tells of a message: extension, date, caller, length.
pub(crate) type Alike = [String; 4];

/// What a box tells of `message`.
pub(crate) fn alike(message: &SimVoicemail) -> Alike {
    let date = message.date.in_tz("Europe/Berlin").unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
    [message.extension.clone(), date, message.from.clone(), message.length_s.to_string()]
}

/// What scenarios compare of the messages of a report.
pub(crate) fn message_counts(report: &BackfillReport) -> Counts {
    without_bytes(report.voicemail.as_ref().expect("voicemail was asked for").counts)
}

impl Station {
    /// A station whose PBX holds no calls, and `messages` messages in the box of 1003, a minute apart from noon on.
    pub(crate) async fn with_messages(messages: u32) -> Self {
        let station = Self::with_voicemail(SimulatorOptions { voicemails: 0, ..small(0) }).await;
        for minute in 0..messages {
            station.leave("1003", minute);
        }
        station
    }

    /// A station of these options that knows the PBX's time zone.
    pub(crate) async fn with_voicemail(options: SimulatorOptions) -> Self {
        let mut station = Self::of(options).await;
        station.section().timezone = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        station
    }

    /// Leaves a message in a box, so many minutes after noon.
    pub(crate) fn leave(&self, extension: &str, minute: u32) -> SimVoicemail {
        let audio = SimAudio::pcm(2000 + u64::from(minute), u64::from(minute) + 100);
        let message = SimVoicemail {
            extension: extension.to_owned(),
            from: "5550142".to_owned(),
            date: noon(self.days.1) + jiff::SignedDuration::from_mins(minute.into()),
            length_s: audio.seconds(),
            read: false,
            audio,
        };
        self.pbx.world(|world| world.leave_message(message.clone()));
        message
    }

    /// Runs a backfill with voicemail.
    pub(crate) async fn backfill_voicemail(&mut self) -> BackfillReport {
        self.run(self.voicemail_request(), CancellationToken::new()).await.unwrap()
    }

    /// What it is asked.
    pub(crate) fn voicemail_request(&self) -> Request {
        Request { voicemail: true, ..self.request() }
    }

    /// Remembers what the messages on the PBX sound like. A scenario that deletes some during a run does so before.
    pub(crate) fn note_messages(&mut self) {
        for message in self.pbx.world(|world| world.voicemails().clone()) {
            self.note_message(&message);
        }
    }

    /// Remembers what a message sounds like.
    pub(crate) fn note_message(&mut self, message: &SimVoicemail) {
        self.messages.entry(alike(message)).or_default().insert(message.audio.sha256());
    }

    /// What is told of each archived message, and its audio.
    pub(crate) async fn archived_messages(&self) -> BTreeSet<(Alike, Digest)> {
        let rows = sqlx::query(
            "select extension, date, caller, length, sha256 from voicemails
             join archived_files on archived_files.recording_id = voicemails.recording_id",
        );
        let rows = rows.fetch_all(&self.database().await).await.unwrap();
        let digest = |row: &SqliteRow| Digest::try_from(row.get::<&[u8], _>("sha256")).unwrap();
        rows.iter().map(|row| (told(row), digest(row))).collect()
    }

    /// What is told of each missing message.
    pub(crate) async fn missing_messages(&self) -> Vec<Alike> {
        let rows = sqlx::query(
            "select extension, date, caller, length from voicemails join recordings on recordings.id = recording_id
             where state = 'missing'",
        );
        rows.fetch_all(&self.database().await).await.unwrap().iter().map(told).collect()
    }

    /// Each archived message has the bytes of a message that was on the PBX, once, and its sidecar tells what its box
    /// told.
    pub(super) async fn check_voicemail(&self) {
        let db = self.database().await;
        let rows = sqlx::query(
            "select archived_files.path, sha256, started_at_ms, name, day from archived_files
             join recordings on recordings.id = recording_id where kind = 'voicemail'",
        );
        let mut archived: BTreeMap<Alike, Vec<Digest>> = BTreeMap::new();
        for row in rows.fetch_all(&db).await.unwrap() {
            let path: &str = row.get("path");
            let sidecar = fs::read(self.archive().join(format!("{path}.json"))).unwrap();
            let told: Value = serde_json::from_slice(&sidecar).unwrap();
            assert!(told["call"].is_null(), "{path}");
            let facts = &told["voicemail"];
            let text = |name: &str| facts[name].as_str().unwrap().to_owned();
            let length = facts["length_s"].as_u64().unwrap().to_string();
            let alike = [text("extension"), text("date"), text("caller"), length];
            check_path(path, &alike);
            let ordinal = facts["ordinal"].as_u64().unwrap();
            let name = [&alike.join("/"), &*if ordinal == 1 { String::new() } else { format!("/{ordinal}") }]
                .concat();
            assert_eq!(row.get::<&[u8], _>("name"), name.as_bytes());
            assert_eq!(told["times"]["local"], alike[1].as_str());
            let started_at: jiff::Timestamp = told["times"]["started_at"].as_str().unwrap().parse().unwrap();
            assert_eq!(started_at.as_millisecond(), row.get::<i64, _>("started_at_ms"));
            let local = started_at.in_tz("Europe/Berlin").unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
            assert_eq!(local, alike[1], "{path}");
            archived.entry(alike).or_default().push(Digest::try_from(row.get::<&[u8], _>("sha256")).unwrap());
        }
        for (alike, mut contents) in archived {
            let truths = &self.messages[&alike];
            assert!(
                contents.iter().all(|sha256| truths.contains(sha256)),
                "{alike:?} is not what the PBX had"
            );
            let all = contents.len();
            contents.sort();
            contents.dedup();
            assert_eq!(contents.len(), all, "{alike:?} is archived twice");
        }
        self.check_messages_are_known(&db).await;
        db.close().await;
    }

    /// Every message has what is known of it, in its own table.
    async fn check_messages_are_known(&self, db: &sqlx::SqlitePool) {
        let apart = "select count(*) from recordings left join voicemails on recording_id = recordings.id
                     where (kind = 'voicemail') <> (recording_id is not null)";
        let apart: i64 = sqlx::query_scalar(apart).fetch_one(db).await.unwrap();
        assert_eq!(apart, 0, "a message and what is known of it are not the same");
    }
}

fn told(row: &SqliteRow) -> Alike {
    ["extension", "date", "caller", "length"].map(|column| row.get(column))
}

/// `hq/voicemail/2024/03/14/120000-1003-5550142-17~0123456789abcdef.wav`
fn check_path(path: &str, [extension, date, caller, length]: &Alike) {
    let (day, time) = date.split_once(' ').unwrap();
    let expected = format!(
        "hq/voicemail/{}/{}-{extension}-{caller}-{length}~",
        day.replace('-', "/"),
        time.replace(':', "")
    );
    let hash = path.strip_prefix(&expected).unwrap_or_else(|| panic!("{path} is not below {expected}"));
    let hash = hash.strip_suffix(".wav").unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{path}");
}
