//! Configuration files on a real disk: where secrets are looked for, who may read them, and the example file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use callvault::config::{Config, ConfigErrors, Origin};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// A folder with a configuration file in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes the files that the example names.
    fn write_secrets(&self) {
        self.write("hq-password", "s3cret", 0o600);
        self.write("mail-password", "s3cret", 0o600);
        self.write("webhook-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", 0o600);
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        self.write("freetsa.pem", certificate, 0o644);
        self.write("surveillance-token", "5f0c2e6d1b7a49c8930e4f6b2a1d8c7e\n", 0o600);
        self.write("siem-secret", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n", 0o600);
        self.write("ledger-key", format!("{}\n", "07".repeat(32)), 0o600);
    }

    /// Loads a configuration whose one PBX has `line` for its password.
    fn load_with(&self, line: &str, mode: u32) -> Result<Config, ConfigErrors> {
        Config::load(&self.write("callvault.toml", config_with(line), mode))
    }

    /// What an error says, without the folder's changing name.
    fn said(&self, error: &ConfigErrors) -> String {
        error.to_string().replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn config_with(line: &str) -> String {
    format!(
        "[archive]\npath = '/srv/archive'\n[state]\npath = '/srv/state'\n\
         [[pbx]]\nid = 'hq'\nurl = 'https://192.0.2.10:8088'\nusername = 'api'\n{line}\n"
    )
}

fn password(config: &Config) -> &str {
    config.pbx[0].password.expose_secret()
}

#[test]
fn a_password_file_stands_beside_the_configuration() {
    let folder = Folder::new();
    let file = folder.write("hq-password", "s3cret word \r\n\n", 0o640);
    let config = folder.load_with("password_file = 'hq-password'", 0o644).unwrap();
    assert_eq!(password(&config), "s3cret word ");
    assert_eq!(config.pbx[0].password_source, file);
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_bare_file_name_means_the_current_folder() {
    let origin = Origin { file: Path::new("callvault.toml"), mode: 0o600, credentials_directory: None };
    let error = Config::parse(&config_with("password_file = 'no-such-file'"), &origin).unwrap_err();
    assert!(error.to_string().contains("there is no no-such-file;"), "{error}");
}

#[test]
fn the_credentials_directory_comes_first_and_guards_its_files_itself() {
    let folder = Folder::new();
    folder.write("hq-password", "beside", 0o600);
    let credentials = folder.path("credentials");
    let file = folder.path("callvault.toml");
    let origin = Origin { file: &file, mode: 0o644, credentials_directory: Some(&credentials) };
    let text = config_with("password_file = 'hq-password'");

    assert_eq!(password(&Config::parse(&text, &origin).unwrap()), "beside");
    folder.write("credentials/hq-password", "credential", 0o444);
    assert_eq!(password(&Config::parse(&text, &origin).unwrap()), "credential");
    let absolute = format!("password_file = '{}'", credentials.join("hq-password").display());
    assert_eq!(password(&Config::parse(&config_with(&absolute), &origin).unwrap()), "credential");
}

#[test]
fn a_password_file_that_is_missing_open_or_odd_is_refused_with_a_remedy() {
    let folder = Folder::new();
    folder.write("open", "s3cret", 0o604);
    folder.write("empty", "\n\r\n", 0o600);
    folder.write("lines", "s3cret\nother\n", 0o600);
    folder.write("large", "s3cret".repeat(1000), 0o600);
    folder.write("binary", b"s3cret\xff", 0o600);
    fs::create_dir(folder.path("folder")).unwrap();
    let said = ["absent", "open", "empty", "lines", "large", "binary", "folder"].map(|name| {
        let error = folder.load_with(&format!("password_file = '{name}'"), 0o600).unwrap_err();
        folder.said(&error).replace("DIR/callvault.toml:9:17: pbx.password_file = ", "")
    });
    assert!(said.iter().all(|text| !text.contains("s3cret")));
    insta::assert_snapshot!(said.join("\n"), @r#"
    'absent': there is no DIR/absent; write the password into that file and chmod 600 it
    1 problem
    'open': everyone on this machine may read DIR/open; chmod 600 DIR/open
    1 problem
    'empty': DIR/empty is empty; write the password into it
    1 problem
    'lines': DIR/lines has several lines; let it hold nothing but the password, on one line
    1 problem
    'large': DIR/large does not look like a password; let it hold nothing but the password, on one line
    1 problem
    'binary': DIR/binary does not look like a password; let it hold nothing but the password, on one line
    1 problem
    'folder': DIR/folder is a folder; name the file in it
    1 problem
    "#);
}

#[test]
fn a_password_may_stand_in_a_configuration_that_others_cannot_read() {
    let folder = Folder::new();
    let config = folder.load_with("password = 's3cret'", 0o600).unwrap();
    assert_eq!(password(&config), "s3cret");
    assert_eq!(config.pbx[0].password_source, folder.path("callvault.toml"));

    for mode in [0o640, 0o604, 0o620] {
        let said = folder.said(&folder.load_with("password = 's3cret'", mode).unwrap_err());
        assert!(said.contains("pbx.password: stands in a file that others may use; chmod 600 DIR"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused_in_one_sentence() {
    let folder = Folder::new();
    fs::create_dir(folder.path("folder")).unwrap();
    folder.write("large", "# comment\n".repeat(1 << 20), 0o600);
    folder.write("binary", b"\x7fELF\0\0\0", 0o600);
    folder.write("latin1", b"# caf\xc3\xa9\n# caf\xe9\n", 0o600);
    folder.write("utf16", b"\xff\xfe[\0a\0", 0o600);
    let said = ["absent", "folder", "large", "binary", "latin1", "utf16"]
        .map(|name| folder.said(&Config::load(&folder.path(name)).unwrap_err()));
    insta::assert_snapshot!(said.join("\n"), @r#"
    DIR/absent: there is no such file; copy config.example.toml there and edit it, or name another file with --config
    DIR/folder: is a folder; name the file in it with --config
    DIR/large: is larger than 1024 KiB, so it is no configuration; name the right file with --config
    DIR/binary: is binary; name the right file with --config
    DIR/latin1: is not UTF-8 on line 2; save it as UTF-8
    DIR/utf16: is UTF-16; save it as UTF-8
    "#);
}

#[test]
fn the_example_is_valid_as_it_is_and_with_every_key_uncommented() {
    let folder = Folder::new();
    folder.write_secrets();
    let example = include_str!("../../config.example.toml");
    let as_it_is = Config::load(&folder.write("callvault.toml", example, 0o644)).unwrap();
    assert_eq!((as_it_is.pbx.len(), as_it_is.exclude.len()), (1, 0));

    let full = uncommented(example);
    let full =
        Config::load(&folder.write("callvault.toml", full, 0o600)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((full.pbx.len(), full.exclude.len(), full.must_record.len()), (2, 1, 1));
    let webhook = &full.feed.webhook[0];
    assert_eq!((&*webhook.name, webhook.after, webhook.entries_max), ("siem", Some(4711), 200));
}

/// The example with each `# key = value` and `# [[section]]` line made a line of its own.
fn uncommented(example: &str) -> String {
    let is_setting = |line: &str| {
        let key = line.split(" = ").next().unwrap_or(line);
        line.starts_with('[') || (line.contains(" = ") && !key.contains(' '))
    };
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    example.lines().map(uncomment).collect()
}

#[test]
fn the_defaults_that_the_example_states_are_those_of_the_code() {
    let folder = Folder::new();
    folder.write_secrets();
    let example = include_str!("../../config.example.toml");
    let (defaults, settings) = stated_defaults(example);
    assert!(settings > 20, "the example states only {settings} defaults");

    let load = |text: &str| Config::load(&folder.write("callvault.toml", text, 0o600)).unwrap();
    // Sizes, durations and the rest are equal if all that is derived from them is.
    assert_eq!(format!("{:?}", load(&defaults)), format!("{:?}", load(example)));
}

/// The example with the line uncommented of each key that states a default, and the number of such keys.
fn stated_defaults(example: &str) -> (String, usize) {
    let lines: Vec<&str> = example.lines().collect();
    let mut text = format!("{}\n", lines[0]);
    let mut count = 0;
    for pair in lines.windows(2) {
        let Some(stated) = pair[0].strip_prefix("# Default: ") else {
            text.push_str(&format!("{}\n", pair[1]));
            continue;
        };
        let setting = pair[1].trim_start_matches("# ");
        let value = setting.split_once(" = ").expect("a stated default stands above its key").1;
        assert!(
            stated.starts_with(&format!("{value}.")) || stated.starts_with(&format!("{value};")),
            "{setting}"
        );
        text.push_str(&format!("{setting}\n"));
        count += 1;
    }
    (text, count)
}
