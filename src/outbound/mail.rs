//! Mail over the operator's SMTP server.

use std::time::Duration;

use anyhow::Context as _;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;

use crate::base::recording::printable;
use crate::config::{EmailConfig, SmtpTls};

/// The longest wait for one answer of the server, and for all of them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a server says of a failure, in characters.
const REASON_CHARS_MAX: usize = 300;

#[derive(Debug)]
pub struct Mailer {
    server: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    /// Prepares a mailer; the server is not contacted yet.
    pub fn new(config: &EmailConfig) -> anyhow::Result<Self> {
        let parameters = || TlsParameters::new(config.host.clone()).context("setting up TLS for mail");
        let tls = match config.tls {
            SmtpTls::Starttls => Tls::Required(parameters()?),
            SmtpTls::Implicit => Tls::Wrapper(parameters()?),
            SmtpTls::None => Tls::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT));
        if let Some((username, password)) = &config.credentials {
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self {
            server: format!("{}:{}", config.host, config.port),
            transport: transport.build(),
            from: config.from.clone(),
            to: config.to.clone(),
        })
    }

    /// Sends a mail. `id` becomes its message id, so that a receiver can recognise a repetition.
    ///
    /// # Errors
    /// Why the server did not take it.
    pub async fn send(&self, id: &str, subject: &str, text: &str) -> Result<(), String> {
        let mail = self.mail(id, subject, text);
        let mail = mail.map_err(|error| format!("the mail cannot be written ({error})"))?;
        match tokio::time::timeout(TIMEOUT, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{} does not take the mail ({})", self.server, reason(&error))),
            Err(_) => Err(format!("{} did not take the mail within {} s", self.server, TIMEOUT.as_secs())),
        }
    }

    fn mail(&self, id: &str, subject: &str, text: &str) -> Result<Message, lettre::error::Error> {
        let mail = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{id}@callvault>")))
            .header(ContentType::TEXT_PLAIN);
        self.to.iter().cloned().fold(mail, lettre::message::MessageBuilder::to).body(format!("{text}\n"))
    }
}

/// What the server or the connection said, with its causes, on one bounded line.
fn reason(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // The library sometimes repeats a cause in the text above it.
        if !text.contains(&inner.to_string()) {
            text = format!("{text}: {inner}");
        }
        cause = inner.source();
    }
    printable(text.as_bytes()).chars().take(REASON_CHARS_MAX).collect()
}
