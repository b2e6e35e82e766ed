//! The search for secrets can fail: each one that is planted is found, in each kind of place, in whatever form. Or else a
//! search that finds nothing would prove nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use callvault::base::digest::hex;

use super::house::House;
use super::places::{self, Reported};
use crate::support::program::eventually;
use crate::support::search::{Search, forms};

/// Plants them, and looks for them as for those that were not planted.
pub(crate) fn finds_each(house: &House, search: &Search, secrets: &[(String, Vec<u8>)]) {
    in_each_form(search, secrets);
    each_in_a_file(house, search, secrets);
    let is_token =
        |secret: &String| secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    let secret = house.secrets().into_iter().find(is_token).expect("each PBX issued some");
    let plot = Plot { house, search, secret: &secret };
    plot.in_words();
    plot.in_files();
    plot.in_the_database();
    plot.in_processes();
}

fn in_each_form(search: &Search, secrets: &[(String, Vec<u8>)]) {
    let mut tried = 0;
    for (name, secret) in secrets {
        for (form, bytes) in forms(secret) {
            let among_others = [b"...", bytes.as_slice(), b"..."].concat();
            assert!(!search.find_in(&among_others).is_empty(), "{name} is not found {form}");
            tried += 1;
        }
    }
    println!("{tried} forms of {} planted secrets are found", secrets.len());
}

fn each_in_a_file(house: &House, search: &Search, secrets: &[(String, Vec<u8>)]) {
    let folder = house.folder.path("archive/planted");
    fs::create_dir(&folder).unwrap();
    for (number, (_, secret)) in secrets.iter().enumerate() {
        fs::write(folder.join(number.to_string()), secret).unwrap();
    }
    let told = places::files(house);
    let is_found =
        |told: &&Reported| told.place.contains("archive/planted/") && !search.find_in(&told.bytes).is_empty();
    assert_eq!(told.iter().filter(is_found).count(), secrets.len());
    fs::remove_dir_all(folder).unwrap();
}

/// One secret, for all kinds of places.
struct Plot<'a> {
    house: &'a House,
    search: &'a Search,
    secret: &'a str,
}

impl Plot<'_> {
    fn has_it(&self, told: &[Reported], place: &str) -> bool {
        let is_it =
            |told: &Reported| told.place.contains(place) && !self.search.find_in(&told.bytes).is_empty();
        told.iter().any(is_it)
    }

    fn is_found_in(&self, told: &[Reported], place: &str) {
        assert!(self.has_it(told, place), "{} is not found in {place}", self.secret);
    }

    /// What the program says.
    fn in_words(&self) {
        let said = self.house.folder.command(["retry", "--pbx", self.secret]).output().unwrap();
        self.is_found_in(&[Reported::new("stderr", said.stderr)], "stderr");
    }

    fn in_files(&self) {
        for (place, text) in [
            ("archive/planted", format!("x{}", self.secret.to_uppercase())),
            ("export-folder/planted", hex(self.secret.as_bytes())),
        ] {
            fs::write(self.house.folder.path(place), text).unwrap();
            self.is_found_in(&places::files(self.house), place);
        }
    }

    /// In the write-ahead log, in the database, and in a snapshot.
    fn in_the_database(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.in_tables(&self.house.folder.path("state")));
    }

    async fn in_tables(&self, state: &Path) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(state.join("callvault.db"));
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("create table planted (text)").execute(&pool).await.unwrap();
        sqlx::query("insert into planted values (?)").bind(self.secret).execute(&pool).await.unwrap();
        self.is_found_in(&places::files(self.house), "callvault.db-wal");
        sqlx::query("pragma wal_checkpoint(truncate)").execute(&pool).await.unwrap();
        self.is_found_in(&places::files(self.house), "callvault.db");
        let copy = state.join("snapshots/planted.db");
        sqlx::query("vacuum into ?").bind(copy.to_str().unwrap()).execute(&pool).await.unwrap();
        self.is_found_in(&places::files(self.house), "snapshots/planted.db");
        pool.close().await;
    }

    /// In how a process was started, and in its environment.
    fn in_processes(&self) {
        let (mut by_environment, mut by_argument) = (Command::new("sleep"), Command::new("sh"));
        by_environment.arg("600").env("PLANTED", self.secret);
        by_argument.args(["-c", "sleep 600; exit $1", "sh", self.secret]);
        for (mut command, place) in [(by_environment, "environ"), (by_argument, "cmdline")] {
            let mut process = command.stdin(Stdio::null()).spawn().unwrap();
            let id = i32::try_from(process.id()).unwrap();
            // The kernel shows both a moment after the program has begun.
            eventually("the process shows the secret", || self.has_it(&places::process(id), place));
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
