//! Webhooks: what is delivered to them, under which ids, and how it stands with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use callvault::base::bell::Bell;
use callvault::base::clock::Clock;
use callvault::cli::status_page;
use callvault::config::Config;
use callvault::http::feed::Delivery;
use callvault::proof::notary;
use callvault::store::db::Db;
use callvault::store::ledger;
use callvault::watch::alerts::condition::{self, Condition};
use callvault::watch::status::{FeedWebhookStatus, Reader, Status};
use jiff::SignedDuration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::door::within;
use crate::support::program::Folder;
use crate::support::reader::append;
use crate::support::receiver::{Manner, Receiver, SECRET, TOKEN};

/// A ledger that is signed when a test says so.
struct House {
    folder: Folder,
    db: Db,
    clock: Clock,
    sealed: Bell,
    /// The configuration without webhooks.
    text: String,
}

/// Deliveries under way, as the service has them.
struct Delivering {
    stop: CancellationToken,
    running: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl House {
    async fn new() -> Self {
        let folder = Folder::for_pbx("https://192.0.2.1");
        fs::write(folder.path("secret"), SECRET).unwrap();
        fs::set_permissions(folder.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(folder.path("state")).unwrap();
        let db = Db::open(&folder.path("state")).await.unwrap();
        let text = fs::read_to_string(folder.config()).unwrap();
        let clock = Clock::showing("2026-03-02T09:00:00Z".parse().unwrap());
        Self { folder, db, clock, sealed: Bell::default(), text }
    }

    /// Lets the ledger grow.
    async fn grows(&self, count: u64) {
        append(&self.db, count).await;
    }

    /// Signs the first `size` entries.
    async fn signs(&self, size: u64) {
        let (frontier, now) = (notary::frontier_at(&self.db, size).await.unwrap(), self.clock.now());
        let noted = self.db.write(async move |tx| ledger::note_checkpoint(tx, &frontier, now).await);
        noted.await.unwrap();
        self.sealed.ring();
    }

    /// The configuration with these webhooks.
    fn config(&self, webhooks: &str) -> Config {
        fs::write(self.folder.config(), format!("{}[feed]\n{webhooks}", self.text)).unwrap();
        Config::load(&self.folder.config()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Delivers to these webhooks.
    fn delivers_to(&self, webhooks: &str) -> Delivering {
        let (stop, mut running) = (CancellationToken::new(), Vec::new());
        for webhook in &self.config(webhooks).feed.webhook {
            let delivery = Delivery::new(webhook, self.db.clone(), self.clock.clone()).unwrap();
            let (sealed, stop) = (self.sealed.clone(), stop.clone());
            running.push(tokio::spawn(async move { delivery.run(&sealed, &stop).await }));
        }
        Delivering { stop, running }
    }

    async fn status(&self, webhooks: &str) -> Status {
        let mut db = self.db.read().await.unwrap();
        Reader::new(&self.config(webhooks)).read(&mut db, self.clock.now()).await.unwrap()
    }

    /// Waits until something is shown of the first webhook.
    async fn until(&self, what: &str, webhooks: &str, holds: impl Fn(&FeedWebhookStatus) -> bool) {
        within(what, async {
            while !holds(&self.status(webhooks).await.feed_webhooks[0]) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// What the status page says of webhooks, without when that was.
    async fn says(&self, webhooks: &str) -> String {
        let page = status_page::of(&self.status(webhooks).await, false);
        assert!(!page.contains(TOKEN), "{page}");
        let of_webhooks = page.lines().skip_while(|line| !line.starts_with("webhook"));
        let of_webhooks = of_webhooks.take_while(|line| !line.is_empty());
        let when = ["; it began", "; last delivery"];
        let without_time =
            |line| when.iter().find_map(|when| str::rsplit_once(line, *when)).map_or(line, |(said, _)| said);
        let said: Vec<&str> = of_webhooks.map(without_time).collect();
        said.join("\n")
    }
}

impl Delivering {
    /// Ends, which takes no longer than a moment whatever it waits for.
    async fn ends(self) {
        self.stop.cancel();
        for running in self.running {
            within("the delivery ends", running).await.unwrap().unwrap();
        }
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The bounds in an id.
fn bounds(id: &str) -> &str {
    id.rsplit_once('_').unwrap().0
}

#[tokio::test]
async fn what_is_signed_is_delivered_in_order_and_what_is_not_waits() {
    let (house, receiver) = (House::new().await, Receiver::start(Manner::Takes));
    let webhook = receiver.section("siem", "entries_max = 4");
    let delivering = house.delivers_to(&webhook);
    house.grows(10).await;
    house.signs(6).await;
    eventually("what is signed is taken", || receiver.read().len() == 6).await;
    house.until("it lacks nothing", &webhook, |shown| shown.behind_entries == 0).await;
    house.grows(1).await;
    house.signs(11).await;
    eventually("the rest is taken", || receiver.read().len() == 11).await;
    let ids: Vec<String> = receiver.tries().iter().map(|id| bounds(id).to_owned()).collect();
    assert_eq!(ids, ["feed_0_3", "feed_4_5", "feed_6_9", "feed_10_10"]);
    receiver.read().is_all_of(&house.folder.path("state")).await;
    delivering.ends().await;
}

#[tokio::test]
async fn what_was_not_taken_comes_again_under_its_id_and_within_its_bounds() {
    for manner in [
        Manner::Answers(500),
        Manner::Answers(410),
        Manner::Answers(404),
        Manner::Answers(302),
        Manner::Answers(300),
        Manner::Silent,
    ] {
        let (house, receiver) = (House::new().await, Receiver::start(manner));
        let webhook = receiver.section("siem", "timeout_s = 0.2");
        house.grows(3).await;
        house.signs(3).await;
        let delivering = house.delivers_to(&webhook);
        eventually("it is tried twice", || receiver.tries().len() >= 2).await;
        delivering.ends().await;
        // More comes while nothing is delivered; the delivery under way stays what it is.
        house.grows(5).await;
        house.signs(8).await;
        receiver.behave(Manner::Takes);
        let delivering = house.delivers_to(&webhook);
        eventually("all is taken", || receiver.read().len() == 8).await;
        let tries = receiver.tries();
        assert!(tries[..tries.len() - 1].iter().all(|id| *id == tries[0]), "{manner:?}: {tries:?}");
        assert_eq!((bounds(&tries[0]), bounds(tries.last().unwrap())), ("feed_0_2", "feed_3_7"));
        delivering.ends().await;
    }
}

#[tokio::test]
async fn the_shell_lines_of_the_document_come_to_the_signature() {
    let document = include_str!("../../../docs/feed.md");
    let (_, lines) = document.split_once("In a shell, for a body in a file:\n\n```sh\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let (house, receiver) = (House::new().await, Receiver::start(Manner::Takes));
    house.grows(3).await;
    house.signs(3).await;
    let delivering = house.delivers_to(&receiver.section("siem", ""));
    eventually("it is taken", || !receiver.taken().is_empty()).await;
    delivering.ends().await;
    let (taken, (timestamp, signature)) = (receiver.taken().remove(0), receiver.signed());
    fs::write(house.folder.path("body"), taken.body).unwrap();
    let output = Command::new("sh")
        .args(["-c", lines])
        .envs([("SECRET", SECRET), ("ID", &taken.id), ("TIMESTAMP", &timestamp)])
        .current_dir(house.folder.path(""))
        .output()
        .unwrap();
    assert_eq!(format!("v1,{}", String::from_utf8(output.stdout).unwrap().trim()), signature);
}

#[tokio::test]
async fn one_that_is_too_long_for_the_receiver_is_cut_when_the_operator_says_so() {
    let (house, receiver) = (House::new().await, Receiver::start(Manner::Answers(413)));
    house.grows(9).await;
    house.signs(9).await;
    let delivering = house.delivers_to(&receiver.section("siem", ""));
    eventually("it is refused", || !receiver.tries().is_empty()).await;
    delivering.ends().await;
    receiver.behave(Manner::Takes);
    let delivering = house.delivers_to(&receiver.section("siem", "entries_max = 5"));
    eventually("all is taken", || receiver.read().len() == 9).await;
    let ids: Vec<String> = receiver.taken().iter().map(|delivery| bounds(&delivery.id).to_owned()).collect();
    assert_eq!(ids, ["feed_0_4", "feed_5_8"]);
    delivering.ends().await;
}

#[tokio::test]
async fn the_name_keeps_the_cursor_wherever_the_receiver_moves() {
    let house = House::new().await;
    let [first, second, third] = [(); 3].map(|()| Receiver::start(Manner::Takes));
    house.grows(4).await;
    house.signs(4).await;
    let delivering = house.delivers_to(&first.section("siem", ""));
    eventually("all is taken", || first.read().len() == 4).await;
    house.until("that is noted", &first.section("siem", ""), |shown| shown.behind_entries == 0).await;
    delivering.ends().await;
    // It was not configured for a while.
    house.delivers_to("").ends().await;
    house.grows(2).await;
    house.signs(6).await;
    let webhooks = second.section("siem", "after = 0") + &third.section("mirror", "");
    let delivering = house.delivers_to(&webhooks);
    eventually("the rest is taken", || second.taken().len() == 1 && third.read().len() == 6).await;
    assert_eq!(bounds(&second.tries()[0]), "feed_4_5");
    delivering.ends().await;
}

#[tokio::test]
async fn an_entry_to_begin_after_may_be_corrected_until_something_was_delivered() {
    let (house, receiver) = (House::new().await, Receiver::start(Manner::Takes));
    house.grows(5).await;
    house.signs(5).await;
    let ahead = receiver.section("siem", "after = 7000");
    let delivering = house.delivers_to(&ahead);
    house.until("it is told", &ahead, |shown| shown.error.is_some()).await;
    insta::assert_snapshot!(house.says(&ahead).await, @r"
    webhook `siem` has not received any entry of the ledger yet
      WRONG: it should get what follows entry 7000, but only 5 entries of the ledger are signed: correct `after`; if the state was restored from an older copy, stop the service and run `callvault rebuild`
    ");
    delivering.ends().await;
    assert_eq!(receiver.tries(), Vec::<String>::new());

    let all_but_one = receiver.section("siem", "after = 3");
    let delivering = house.delivers_to(&all_but_one);
    eventually("what comes after it is taken", || receiver.taken().len() == 1).await;
    assert_eq!(bounds(&receiver.tries()[0]), "feed_4_4");
    house.until("the trouble is over", &all_but_one, |shown| shown.error.is_none()).await;
    delivering.ends().await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_shown_and_told_after_an_hour_until_it_takes_again() {
    let (house, receiver) = (House::new().await, Receiver::start(Manner::Answers(500)));
    let webhook = receiver.section("siem", "");
    insta::assert_snapshot!(house.says(&webhook).await, @"webhook `siem` has not received any entry of the ledger yet");
    house.grows(3).await;
    house.signs(3).await;
    let delivering = house.delivers_to(&webhook);
    eventually("it is tried twice", || receiver.tries().len() >= 2).await;
    house.clock.set(house.clock.now() + SignedDuration::from_mins(61));
    let status = house.status(&webhook).await;
    let shown = &status.feed_webhooks[0];
    assert_eq!((shown.delivered_entries, shown.behind_entries), (0, 3));
    assert!(shown.failures >= 1 && shown.last_delivery.is_none(), "{shown:?}");
    insta::assert_snapshot!(house.says(&webhook).await, @r"
    webhook `siem` has not received any entry of the ledger yet, 3 are waiting
      WRONG: 127.0.0.1 answered with HTTP status 500 Internal Server Error; check the receiver and `url`: delivery is retried, and no entry is skipped
    ");
    let told = condition::all(&status, &house.config(&webhook).alerts);
    let told = told.iter().find(|alert| alert.cause == Condition::FeedWebhookFailing.into()).unwrap();
    assert_eq!(told.key(), "feed_webhook_failing//siem");
    insta::assert_snapshot!(told.message, @"the webhook `siem` has accepted no entry of the feed for more than an hour: 127.0.0.1 answered with HTTP status 500 Internal Server Error; check the receiver and `url`: delivery is retried, and no entry is skipped");

    receiver.behave(Manner::Takes);
    eventually("it takes again", || receiver.read().len() == 3).await;
    house.until("it is shown", &webhook, |shown| shown.error.is_none()).await;
    insta::assert_snapshot!(house.says(&webhook).await, @"webhook `siem` received 3 entries of the ledger");
    let told = condition::all(&house.status(&webhook).await, &house.config(&webhook).alerts);
    assert!(told.iter().all(|alert| alert.cause != Condition::FeedWebhookFailing.into()), "{told:?}");
    delivering.ends().await;
}
