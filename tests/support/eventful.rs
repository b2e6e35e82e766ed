//! A station to which everything happens, and the loss of its database.

use std::fs;
use std::time::Duration;

use callvault::config::ExclusionRule;
use callvault::pipeline::backfill::BackfillReport;
use callvault::proof::rebuild::{self, Report, Request};
use callvault::simulator::{SimAudio, SimVoicemail, SimulatorOptions};
use callvault::store::db::database_file;
use callvault::vault::snapshot::{self, Snapshot};
use callvault::watch::status::Reader;
use jiff::ToSpan as _;
use serde_json::{Value, json};

use crate::support::closing::until_closed;
use crate::support::station::{Station, followed};

/// Rounds after which an absence is final, each with a delivery between.
const ROUNDS: u32 = 8;
/// On a busy machine an absence may be asked about before the delivery of its round, and the round does not count.
const ROUNDS_MAX: u32 = 40;

impl Station {
    /// A station to which everything has happened that a file of the archive tells of: odd names, legs of a transfer, rows
    /// that changed, what is missing, missing for good, archived after all, excluded, stuck, empty, in conflict, fetched
    /// twice; messages that are alike, and one that was deleted.
    pub(crate) async fn eventful() -> Self {
        let options = SimulatorOptions { odd_names: 5, voicemails: 3, ..followed(8) };
        let mut station = Self::with_voicemail(options).await;
        station.config.queue.missing_final_after = Duration::from_millis(1);
        station.config.queue.attempts_max = 1;
        station.section().limits.recording_bytes_max = 60_000;
        let internal = ExclusionRule { direction: vec!["internal".into()], ..ExclusionRule::default() };
        station.config.exclude = vec![ExclusionRule { name: "internal".into(), ..internal }];
        station.let_calls_happen();
        station.let_messages_happen().await;
        for round in 0..ROUNDS {
            station.let_a_round_pass(round).await;
            if round == 2 {
                station.let_names_come_back();
                station.let_a_row_change();
            }
        }
        let rounds = station.until_one_is_final(ROUNDS).await;
        station.pbx.world(|world| world.restore_audio(b"later.wav"));
        station.retry().await;
        station.let_calls_go_missing(&["gone.wav"]);
        for round in rounds..rounds + ROUNDS {
            station.let_a_round_pass(round).await;
        }
        station.until_one_is_final(rounds + ROUNDS).await;
        // One that is not missing for good yet.
        station.let_calls_go_missing(&["not-yet.wav"]);
        station.backfill_voicemail().await;
        station
    }

    /// An absence counts once for each round in which something else is delivered.
    async fn let_a_round_pass(&mut self, round: u32) {
        self.add_call(&format!("other-{round}.wav"), 100 + round);
        self.backfill_voicemail().await;
    }

    /// Lets further rounds pass until an absence is final; the number of the next round.
    async fn until_one_is_final(&mut self, mut round: u32) -> u32 {
        while self.value::<i64>("select count(*) from recordings where final = 1 and kind = 'call'").await
            == 0
        {
            assert!(round < 2 * ROUNDS_MAX, "no absence became final");
            self.let_a_round_pass(round).await;
            round += 1;
        }
        round
    }

    fn let_calls_go_missing(&self, names: &[&str]) {
        for (name, minute) in names.iter().zip(200..) {
            self.add_call(name, minute);
            self.pbx.world(|world| world.delete_audio(name.as_bytes()));
        }
    }

    fn let_a_row_change(&self) {
        self.pbx.world(|world| {
            world.rewrite(b"shared.wav", |call| {
                call.talk_duration_s += 7;
                true
            });
        });
    }

    fn let_calls_happen(&self) {
        self.let_calls_go_missing(&["later.wav"]);
        let mut internal = self.call("internal.wav", 3);
        internal.call_type = "Internal".into();
        let mut large = self.call("large.wav", 4);
        large.audio = Some(SimAudio::pcm(90_000, 4));
        let mut empty = self.call("empty.wav", 5);
        (empty.audio, empty.talk_duration_s) = (Some(SimAudio::empty_wav()), 30);
        let mut unrecorded = self.call("", 6);
        unrecorded.audio = None;
        let shared = self.call("shared.wav", 7);
        let mut leg = shared.clone();
        (leg.start, leg.callto, leg.call_type) =
            (shared.start + 9.seconds(), "1007".into(), "Transfer".into());
        let mut early = [self.call("again.wav", 8), self.call("reused.wav", 9)];
        for (number, call) in early.iter_mut().enumerate() {
            call.start -= 48.hours();
            call.callid = format!("{}.{}", call.start.as_second(), 90 + number);
        }
        let all = [internal, large, empty, unrecorded, shared, leg].into_iter().chain(early);
        self.pbx.world(|world| all.for_each(|call| world.add_call(call)));
    }

    /// Calls of two days later with names of recordings that are archived: one with the same audio, one with other audio.
    fn let_names_come_back(&self) {
        let mut again = self.call("again.wav", 8);
        again.audio = Some(SimAudio::pcm(4000, 8));
        let mut reused = self.call("reused.wav", 9);
        reused.audio = Some(SimAudio::pcm(6000, 99));
        self.pbx.world(|world| [again, reused].into_iter().for_each(|call| world.add_call(call)));
    }

    async fn let_messages_happen(&mut self) {
        let one = self.leave("1003", 1);
        let twin = SimVoicemail { audio: SimAudio::pcm(2001, 777), ..one };
        self.pbx.world(|world| world.leave_message(twin));
        // Heard of, and deleted before it was fetched.
        let gone = self.leave("1004", 2);
        self.note_messages();
        let request = callvault::pipeline::backfill::Request { dry_run: true, ..self.voicemail_request() };
        self.run(request, tokio_util::sync::CancellationToken::new()).await.unwrap();
        self.pbx.world(|world| {
            world.voicemails().retain(|message| message.date != gone.date || message.extension != "1004")
        });
    }

    /// Recordings in a state.
    pub(crate) async fn count(&self, state: &str) -> i64 {
        let db = self.database().await;
        let count = sqlx::query_scalar("select count(*) from recordings where state = ?");
        count.bind(state).fetch_one(&db).await.unwrap()
    }

    /// Loses the state folder, all of it.
    pub(crate) async fn lose_state(&self) {
        until_closed(&self.config.state.path).await;
        fs::remove_dir_all(&self.config.state.path).unwrap();
    }

    /// Loses the database alone: keys and the last checkpoint are left.
    pub(crate) async fn lose_database(&self) {
        until_closed(&self.config.state.path).await;
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(self.config.state.path.join(format!("callvault.db{suffix}"))));
        }
    }

    /// Keeps the database as it is now.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        snapshot::take(&self.config.state.path, &self.config.snapshots, 0, callvault::base::clock::now())
            .await
            .unwrap()
    }

    /// Puts a snapshot into the place of the database.
    pub(crate) async fn restore(&self, snapshot: &Snapshot) {
        until_closed(&self.config.state.path).await;
        for suffix in ["-wal", "-shm"] {
            drop(fs::remove_file(self.config.state.path.join(format!("callvault.db{suffix}"))));
        }
        fs::copy(&snapshot.file, database_file(&self.config.state.path)).unwrap();
    }

    /// Makes the database anew from archive and ledger.
    pub(crate) async fn rebuild(&mut self) -> Report {
        self.try_rebuild(Request::default()).await.unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) async fn try_rebuild(&mut self, request: Request) -> anyhow::Result<Report> {
        until_closed(&self.config.state.path).await;
        // What is appended is signed by the next run.
        self.expect_unsealed();
        let now = callvault::base::clock::now();
        rebuild::rebuild(&self.config, &request, Default::default(), now).await
    }

    /// The audio and the sidecars in the archive. (What is asked for once more is listed once more.)
    pub(crate) fn recordings(&self) -> Vec<String> {
        self.files()
            .into_keys()
            .filter(|path| path.ends_with(".wav") || path.ends_with(".wav.json"))
            .collect()
    }

    /// The ledger in the database.
    pub(crate) async fn ledger(&self) -> Vec<(i64, Vec<u8>)> {
        let db = self.database().await;
        let entries: Vec<(i64, String)> =
            sqlx::query_as("select number, entry from ledger order by number").fetch_all(&db).await.unwrap();
        db.close().await;
        entries.into_iter().map(|(number, entry)| (number, entry.into_bytes())).collect()
    }

    /// What `status --json` shows, without what a rebuild cannot know:
    /// - `last_sweep`, and with it that nothing can be said of rows that were never read (`cdr_margin_s`): nobody knows
    ///   when the calls were last read completely, so all are read again;
    /// - `last_delivery`: it was delivered a moment before it was archived;
    /// - `last_poll`, `fullest`, `nearly_full_boxes`: what the boxes looked like, until they are looked into again;
    /// - when the ledger was signed: no checkpoint tells;
    /// - `findings`, `latest_findings`, `summary`, `needs_attention`: who knows of what;
    /// - `service`, `alerts`, `at`, room on the disk: this moment.
    pub(crate) async fn status(&self) -> Value {
        let db = self.database().await;
        let mut connection = db.acquire().await.unwrap();
        let status =
            Reader::new(&self.config).read(&mut connection, callvault::base::clock::now()).await.unwrap();
        drop(connection);
        db.close().await;
        let mut status = serde_json::to_value(&status).unwrap();
        for moment in ["at", "summary", "needs_attention", "service", "alerts"] {
            status.as_object_mut().unwrap().remove(moment);
        }
        status["archive"]["free_bytes"] = Value::Null;
        status["ledger"].as_object_mut().unwrap().remove("signed_at");
        for pbx in status["pbx"].as_object_mut().unwrap().values_mut() {
            let pbx = pbx.as_object_mut().unwrap();
            for unknown in ["last_sweep", "last_delivery", "findings", "latest_findings", "nearly_full_boxes"]
            {
                pbx.remove(unknown);
            }
            if let Some(forecast) = pbx.get_mut("forecast") {
                // Both are counted from this second.
                for moment in ["cdr_margin_s", "margin_s"] {
                    forecast.as_object_mut().unwrap().remove(moment);
                }
            }
            pbx.remove("safety_margin_s");
            if let Some(voicemail) = pbx.get_mut("voicemail") {
                for unknown in ["last_poll", "fullest"] {
                    voicemail.as_object_mut().unwrap().remove(unknown);
                }
            }
        }
        status
    }
}

/// What `backfill --json` prints, but for how long it took.
pub(crate) fn printed(report: &BackfillReport) -> Value {
    let mut printed = serde_json::to_value(report).unwrap();
    printed["elapsed_s"] = json!(0);
    for pbx in printed["pbx"].as_object_mut().unwrap().values_mut() {
        pbx["elapsed_s"] = json!(0);
    }
    printed
}
