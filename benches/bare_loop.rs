//! The peer of `scripts/bench`: the shortest loop that keeps callvault's promises for each recording, and does nothing else.
//!
//! ```text
//! bare_loop URL USERNAME PASSWORD FOLDER CONNECTIONS
//! ```
//! Each connection is a thread: a ticket, a download while its SHA-256 is computed, audio and sidecar synced and named
//! without replacing anything, the folder synced, one row in SQLite. Rows that wait together share one commit. It logs in
//! once, asks once for all calls, writes into one folder, and ends with the first error: it judges no audio, keeps no queue
//! and no ledger, and a second run of it would not know what the first one did.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, Result, bail, ensure};
use md5::{Digest as _, Md5};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, linkat, open, openat};
use sha2::Sha256;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

/// What is committed of a file, and whom to tell then.
struct Row {
    name: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    committed: Sender<()>,
}

struct Pbx {
    address: String,
    api: String,
    token: String,
}

fn main() -> Result<()> {
    // `cargo bench` adds arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [url, username, password, folder, connections] = &arguments[..] else {
        bail!("usage: bare_loop URL USERNAME PASSWORD FOLDER CONNECTIONS (scripts/bench runs it)");
    };
    let address = url.strip_prefix("http://").context("the URL must begin with http://")?.to_owned();
    let mut pbx = Pbx { address, api: "/api/v1.1.0".into(), token: String::new() };
    let md5 = hex(&Md5::digest(password));
    let login = format!(r#"{{"username":"{username}","password":"{md5}","port":"8260"}}"#);
    pbx.token = pbx.ask("login", &login, "token")?;
    let names = pbx.names()?;
    let (rows, waiting) = channel();
    let database = format!("{folder}/rows.db");
    let committer = std::thread::spawn(move || commit(&database, &waiting));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let fetchers: Vec<_> = (0..connections.parse::<usize>()?)
            .map(|_| {
                let rows = rows.clone();
                scope.spawn(|| fetch_all(&pbx, &names, &next, folder, rows))
            })
            .collect();
        fetchers.into_iter().try_for_each(|fetcher| fetcher.join().expect("a fetcher does not panic"))
    })?;
    drop(rows);
    committer.join().expect("the committer does not panic")
}

fn fetch_all(pbx: &Pbx, names: &[String], next: &AtomicUsize, folder: &str, rows: Sender<Row>) -> Result<()> {
    let folder = open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
        let random = pbx.ask("recording/get_random", &format!(r#"{{"recording":"{name}"}}"#), "random")?;
        let unnamed = || openat(&folder, ".", OFlags::TMPFILE | OFlags::RDWR, Mode::from(0o440));
        let mut audio = std::fs::File::from(unnamed()?);
        let (mut hasher, mut size_bytes) = (Sha256::new(), 0);
        pbx.get("recording/download", &format!("recording={name}&random={random}"), |chunk| {
            hasher.update(chunk);
            size_bytes += chunk.len();
            audio.write_all(chunk)
        })?;
        let sha256 = hasher.finalize();
        let mut sidecar = std::fs::File::from(unnamed()?);
        let (pad, hash) = (" ".repeat(1200), hex(&sha256));
        writeln!(sidecar, r#"{{"name":"{name}","size_bytes":{size_bytes},"sha256":"{hash}"{pad}}}"#)?;
        for (file, name) in [(&audio, name.clone()), (&sidecar, format!("{name}.json"))] {
            fsync(file)?;
            let ours = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, ours, &folder, name, AtFlags::SYMLINK_FOLLOW)?;
        }
        fsync(&folder)?;
        let (committed, is_committed) = channel();
        let (name, sha256) = (name.clone(), sha256.to_vec());
        rows.send(Row { name, size_bytes: i64::try_from(size_bytes)?, sha256, committed })?;
        is_committed.recv()?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn commit(database: &str, rows: &Receiver<Row>) -> Result<()> {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let mut db = options.connect().await?;
    let table =
        "create table files (id integer primary key, name text unique, size_bytes integer, sha256 blob)";
    sqlx::query(table).execute(&mut db).await?;
    while let Ok(first) = rows.recv() {
        let together: Vec<Row> = std::iter::once(first).chain(rows.try_iter()).collect();
        insert(&mut db, &together).await?;
        for row in together {
            // Who asked may have failed meanwhile.
            let _ = row.committed.send(());
        }
    }
    Ok(())
}

async fn insert(db: &mut SqliteConnection, rows: &[Row]) -> Result<()> {
    let mut transaction = db.begin_with("begin immediate").await?;
    for Row { name, size_bytes, sha256, .. } in rows {
        let insert = sqlx::query("insert into files (name, size_bytes, sha256) values (?, ?, ?)");
        insert.bind(name).bind(size_bytes).bind(sha256).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

impl Pbx {
    /// The names of all recordings that the calls name, each once.
    fn names(&self) -> Result<Vec<String>> {
        let range = [("starttime", "2000-01-01 00:00:00"), ("endtime", "2037-12-31 23:59:59")];
        let body = format!(r#"{{"extid":"all","starttime":"{}","endtime":"{}"}}"#, range[0].1, range[1].1);
        let random = self.ask("cdr/get_random", &body, "random")?;
        let times = range.map(|(key, time)| format!("{key}={}", utf8_percent_encode(time, NON_ALPHANUMERIC)));
        let mut csv = Vec::new();
        let query = format!("extid=all&{}&random={random}", times.join("&"));
        self.get("cdr/download", &query, |chunk| csv.write_all(chunk))?;
        let csv = String::from_utf8(csv)?;
        let fields = csv.split([',', '\r', '\n']).map(|field| field.trim_matches('"'));
        let mut names: Vec<String> =
            fields.filter(|field| field.ends_with(".wav")).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        ensure!(!names.is_empty(), "the calls name no recording");
        Ok(names)
    }

    /// Posts JSON and returns one member of the reply.
    fn ask(&self, method: &str, body: &str, member: &str) -> Result<String> {
        let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let mut reply = Vec::new();
        self.request("POST", method, "", &format!("{head}\r\n{body}"), |chunk| reply.write_all(chunk))?;
        let reply: serde_json::Value = serde_json::from_slice(&reply)?;
        let value = reply[member].as_str().with_context(|| format!("{method}: {reply}"))?;
        Ok(value.to_owned())
    }

    fn get(&self, method: &str, query: &str, take: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<()> {
        self.request("GET", method, query, "\r\n", take)
    }

    /// One request over a connection of its own, as the PBX serves them; `take` gets the body as it comes.
    fn request(
        &self,
        verb: &str,
        method: &str,
        query: &str,
        rest: &str,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let (api, address) = (&self.api, &self.address);
        let token = if self.token.is_empty() { String::new() } else { format!("token={}&", self.token) };
        let target = format!("{api}/{method}?{token}{query}");
        let head = format!("{verb} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}");
        stream.write_all(head.as_bytes())?;
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.contains(" 200 "), "{method}: {line}");
        let mut left = u64::MAX;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                left = value.trim().parse()?;
            }
        }
        let mut body = reader.take(left);
        loop {
            let chunk = body.fill_buf()?;
            if chunk.is_empty() {
                return Ok(());
            }
            take(chunk)?;
            let count = chunk.len();
            body.consume(count);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
