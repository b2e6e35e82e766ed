//! A folder with a configuration, an archive and a state, and the program run in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PASSWORD, Said, eventually};

/// Where one installation lives.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// An installation whose only PBX, `hq`, is at `url`. It gives up at once and waits for nothing.
    pub(crate) fn for_pbx(url: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write_password(PASSWORD);
        let dir = folder.0.path().display();
        let text = format!(
            "[archive]\npath = \"{dir}/archive\"\nfree_bytes_min = 0\n\
             [state]\npath = \"{dir}/state\"\n\
             [queue]\nretry_base_s = 0.01\nretry_max_s = 0.05\n"
        );
        fs::write(folder.config(), text).unwrap();
        folder.add_pbx("hq", url, "outage_patience_s = 0");
        folder
    }

    /// Adds a PBX with `keys` of its own to the configuration.
    pub(crate) fn add_pbx(&self, id: &str, url: &str, keys: &str) {
        let plain = if url.starts_with("http:") { "allow_plain_http = true" } else { "" };
        let section = format!(
            "[[pbx]]\nid = \"{id}\"\nurl = \"{url}\"\nusername = \"api\"\npassword_file = \"hq-password\"\n\
             {plain}\n{keys}\n"
        );
        self.edit(|text| format!("{text}{section}"));
    }

    /// Changes the configuration's text.
    pub(crate) fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), change(text)).unwrap();
    }

    /// Writes the file in which the password is looked for.
    pub(crate) fn write_password(&self, password: &str) {
        self.write_secret("hq-password", password);
    }

    /// Writes a file that its owner alone may read.
    pub(crate) fn write_secret(&self, name: &str, secret: &str) {
        let file = self.path(name);
        fs::write(&file, format!("{secret}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("callvault.toml")
    }

    /// The program with its arguments, ready to be started in this folder and in no other environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callvault"));
        command
            .env_clear()
            .env("CALLVAULT_CONFIG", self.config())
            .current_dir(self.0.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.start(self.command(args)).wait()
    }

    /// Starts the program.
    pub(crate) fn start(&self, mut command: Command) -> Running {
        self.adopt(command.spawn().unwrap())
    }

    /// Listens to a program that was started otherwise.
    pub(crate) fn adopt(&self, mut child: Child) -> Running {
        Running {
            stdout: child.stdout.take().map(listen),
            stderr: child.stderr.take().map(listen),
            child,
            dir: self.0.path().to_owned(),
        }
    }

    /// One number out of the database.
    pub(crate) fn number(&self, sql: &'static str) -> i64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pool = callvault::store::db::open_read_only(&self.path("state")).await.unwrap().unwrap();
            let number = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
            pool.close().await;
            number
        })
    }

    /// Changes the database behind the program's back.
    pub(crate) fn write(&self, sql: &'static str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let file = self.path("state").join("callvault.db");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
            let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
            sqlx::query(sql).execute(&pool).await.unwrap();
            pool.close().await;
        });
    }

    /// Every regular file below `name`, sorted.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() { &mut folders } else { &mut found }
                    .push(entry.path());
            }
        }
        found.sort();
        found
    }

    /// The audio in the archive.
    pub(crate) fn recordings(&self) -> Vec<PathBuf> {
        let mut files = self.files("archive");
        files.retain(|file| file.extension().is_some_and(|extension| extension == "wav"));
        files
    }
}

/// What came out of a pipe so far.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn listen(mut pipe: impl Read + Send + 'static) -> (Heard, JoinHandle<()>) {
    let heard = Heard::default();
    let told = heard.clone();
    let listener = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            told.0.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
    });
    (heard, listener)
}

/// The program at work. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    stdout: Option<(Heard, JoinHandle<()>)>,
    stderr: Option<(Heard, JoinHandle<()>)>,
    dir: PathBuf,
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// What it has said on stdout and stderr so far.
    pub(crate) fn so_far(&self) -> String {
        let heard = [&self.stdout, &self.stderr].map(|pipe| pipe.as_ref().map(|(heard, _)| heard.bytes()));
        heard.into_iter().flatten().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    /// Waits until it has said something.
    pub(crate) fn until_it_says(&self, words: &str) -> &Self {
        eventually(words, || self.so_far().contains(words));
        self
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Said {
        eventually("the program ends", || self.has_ended());
        let status = self.child.wait().unwrap();
        let heard = |pipe: Option<(Heard, JoinHandle<()>)>| {
            pipe.map(|(heard, listener)| {
                listener.join().unwrap();
                heard.bytes()
            })
        };
        let [stdout, stderr] =
            [self.stdout.take(), self.stderr.take()].map(|pipe| heard(pipe).unwrap_or_default());
        Said::new(status, &stdout, &stderr, &self.dir)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
