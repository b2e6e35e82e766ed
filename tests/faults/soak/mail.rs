//! A mail server of a few words, whose clients may be killed in the middle of a sentence.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A mail server.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&mails);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let taken = Arc::clone(&taken);
                // A client that is gone has no more to say.
                std::thread::spawn(move || drop(serve(stream, &taken)));
            }
        });
        Self { port, mails }
    }

    /// All that it took, headers first.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, mails: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut answer = "220 mail.test";
    loop {
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line?.to_uppercase();
        answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 ok",
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut mail = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail += &format!("{line}\n");
                }
                mails.lock().unwrap().push(mail);
                "250 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => "250 ok",
        };
    }
}
