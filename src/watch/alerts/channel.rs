use jiff::Timestamp;

use super::TIMEOUT;
use super::message::Message;
use crate::config::AlertsConfig;
use crate::outbound::mail::Mailer;
use crate::outbound::webhook::Webhook;

#[derive(Debug)]
pub(super) enum Channel {
    Webhook { name: String, webhook: Webhook },
    Email(Box<Mailer>),
}

pub(super) fn all(config: &AlertsConfig) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for (webhook, number) in config.webhook.iter().zip(1..) {
        let webhook = Webhook::new(webhook.clone(), TIMEOUT)?;
        channels.push(Channel::Webhook { name: format!("webhook {number} ({})", webhook.host()), webhook });
    }
    if let Some(email) = &config.email {
        channels.push(Channel::Email(Box::new(Mailer::new(email)?)));
    }
    Ok(channels)
}

impl Channel {
    /// Without secrets; also the key of the outbox.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Webhook { name, .. } => name,
            Self::Email(_) => "email",
        }
    }

    /// Delivers a message once.
    ///
    /// # Errors
    /// Why it was not delivered, free of secrets.
    pub(super) async fn send(&self, id: &str, body: &str, now: Timestamp) -> Result<(), String> {
        match self {
            Self::Webhook { webhook, .. } => webhook.post(id, "application/json", body.to_owned(), now).await,
            Self::Email(email) => {
                let message: Message = serde_json::from_str(body)
                    .map_err(|error| format!("the message is damaged ({error})"))?;
                email.send(id, &message.data.title, &message.data.text).await
            }
        }
    }
}
