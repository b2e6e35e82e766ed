//! The S-Series as the rest of the program sees every PBX.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::civil::DateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::calls::CsvCalls;
use super::{Download, PbxClient, Slot, TICKETS_MAX, renewal, tcp};
use crate::base::message::Message;
use crate::base::recording::{RecordingName, Text};
use crate::config::{Generation, PushMode};
use crate::formats::cdr::CdrReader;
use crate::pbx::push::http::Receiver;
use crate::pbx::{self, Abilities, Audio, Calls, Counted, DeviceInfo, Pbx, PbxError, VoicemailList};

impl Pbx for PbxClient {
    fn id(&self) -> &str {
        PbxClient::id(self)
    }

    fn can(&self) -> Abilities {
        let config = &self.shared.config;
        Abilities {
            calls: config.cdr_api,
            voicemail: config.api_version.generation != Generation::V1_0,
            events: config.push != PushMode::Off,
            recordings: false,
        }
    }

    fn counters(&self) -> Counted {
        PbxClient::counters(self)
    }

    fn device(&self) -> BoxFuture<'_, Result<Option<DeviceInfo>, PbxError>> {
        Box::pin(self.device_info())
    }

    fn slot(&self) -> BoxFuture<'_, Box<dyn pbx::Slot>> {
        Box::pin(async move { Box::new(PbxClient::slot(self).await) as Box<dyn pbx::Slot> })
    }

    fn voicemail(&self) -> BoxFuture<'_, Result<Option<VoicemailList>, PbxError>> {
        Box::pin(PbxClient::voicemail(self))
    }

    fn lift_refusal(&self) -> BoxFuture<'_, ()> {
        Box::pin(PbxClient::lift_refusal(self))
    }

    fn keep_events_coming<'a>(&'a self, receiver: &'a Receiver, restarted: &'a Notify) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let stop = CancellationToken::new();
            let streamed = async {
                if let PushMode::Tcp { port } = self.shared.config.push
                    && let Err(error) = tcp::follow(self, port, &receiver.wakes, &receiver.tally, &stop).await
                {
                    tracing::warn!(pbx = self.id(), "{error}");
                }
            };
            if self.can().events {
                tokio::join!(renewal::keep(self, restarted, &stop), streamed);
            }
        })
    }
}

impl pbx::Slot for Slot {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(Slot::ready(self))
    }

    fn calls(
        self: Box<Self>,
        from: DateTime,
        to: DateTime,
        known_sn: Option<Text>,
    ) -> BoxFuture<'static, Result<Box<dyn Calls>, PbxError>> {
        Box::pin(async move {
            let config = &self.shared.config;
            let pbx = config.id.clone();
            let reader = CdrReader::new(&config.cdr_columns).keeping(&config.cdr_keep_columns).of_pbx();
            let body = self.cdr(from, to).await?;
            let calls = CsvCalls { pbx, body, reader, known_sn, last: None, size_bytes: 0 };
            Ok(Box::new(calls) as Box<dyn Calls>)
        })
    }

    fn recording<'a>(
        mut self: Box<Self>,
        name: &'a RecordingName,
    ) -> BoxFuture<'a, Result<Box<dyn Audio>, PbxError>> {
        Box::pin(async move {
            let mut tickets = 1;
            loop {
                let outcome = match self.ticket(name).await {
                    Ok(ticket) => self.download(ticket).await,
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(download) => return Ok(Box::new(download) as Box<dyn Audio>),
                    Err(error) if error.policy().wants_another_ticket() && tickets < TICKETS_MAX => {
                        tickets += 1;
                    }
                    Err(error) => return Err(error.after_the_last_ticket()),
                }
            }
        })
    }

    fn mailbox<'a>(&'a mut self, extension: &'a str) -> BoxFuture<'a, Result<VoicemailList, PbxError>> {
        Box::pin(self.voicemail_of(extension))
    }

    fn message<'a>(
        self: Box<Self>,
        message: &'a Message,
        nth: usize,
    ) -> BoxFuture<'a, Result<Box<dyn Audio>, PbxError>> {
        Box::pin(async move { Ok(Box::new(self.message_audio(message, nth).await?) as Box<dyn Audio>) })
    }
}

impl Audio for Download {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PbxError>> {
        Box::pin(Download::next(self))
    }

    fn content_length(&self) -> Option<u64> {
        Download::content_length(self)
    }

    fn limit(&mut self, bytes: u64) {
        Download::limit(self, bytes);
    }
}
