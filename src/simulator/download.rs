//! Downloads: a ticket is spent, and what it stands for is sent, faithfully or not.

use bytes::Bytes;
use jiff::Timestamp;

use super::api::{Call, seconds};
use super::audio::Source;
use super::cdr::{Report, is_asked, parse_time, rows_of};
use super::errno;
use super::lock;
use super::plan::add_s;
use super::reply::{Cut, Delivery, ENDLESS_BYTES, Reply};
use super::tickets::{Holder, Refusal, Target};

/// No WAV header of the simulator is longer.
const WAV_HEADER_BYTES: u64 = 60;

impl Call<'_> {
    /// `recording/download`.
    pub(super) fn download_recording(&self) -> Result<Reply, u32> {
        let names = self.request.names("recording");
        let is_target = |target: &Target| matches!(target, Target::Recording(name) if names.contains(name));
        let (issued, target) = self.spend(is_target, errno::RECORDING_RANDOM)?;
        let Target::Recording(name) = target else { return Err(errno::RECORDING_RANDOM) };
        let audio = self.recording(&name, self.device.options.absence_told_at_download)?;
        let most = self.faults.growing_asks;
        let is_early = lock(&self.device.asks).is_early("growing", &name, most);
        let is_growing = is_early || self.is_growing(&name);
        let mut whole = audio.source();
        if is_growing {
            self.device.count_fault("growing");
            let part = self.faults.growing_as.part_of(whole);
            whole = part.ok_or_else(|| self.absent(errno::NO_RECORDING))?;
        }
        let mut reply = self.deliver(whole, issued);
        reply.delivery.is_replaced |= is_growing;
        reply.recording = Some(name);
        Ok(reply)
    }

    /// `voicemail/download`.
    pub(super) fn download_voicemail(&self) -> Result<Reply, u32> {
        let asked_extension = self.request.text(self.version.extension_key());
        let asked_file = self.request.text("voicemailfile");
        let asked_status = Some(self.request.text("voicemailstatus")).filter(|status| !status.is_empty());
        let is_target = |target: &Target| match target {
            Target::Voicemail { extension, file, status } => {
                let is_folder = status.is_none() || asked_status.is_none() || *status == asked_status;
                *extension == asked_extension && *file == asked_file && is_folder
            }
            _ => false,
        };
        let (issued, target) = self.spend(is_target, errno::VOICEMAIL_RANDOM)?;
        let Target::Voicemail { extension, file, status } = target else {
            return Err(errno::VOICEMAIL_RANDOM);
        };
        // The place is looked up now: what has moved since the ticket was issued is another message.
        let audio = self.message(&extension, &file, status.or(asked_status).as_deref())?;
        Ok(self.deliver(audio.source(), issued))
    }

    /// `cdr/download`.
    pub(super) fn download_cdr(&self) -> Result<Reply, u32> {
        let asked =
            [self.version.extension_key(), "starttime", "endtime"].map(|name| self.request.text(name));
        let is_target = |target: &Target| match target {
            Target::Cdr { extension, from, to } => [extension, from, to].into_iter().eq(&asked),
            _ => false,
        };
        self.spend(is_target, errno::CDR_RANDOM)?;
        let (Some(first), Some(last)) = (parse_time(&asked[1]), parse_time(&asked[2])) else {
            return Err(errno::CDR_TIME);
        };
        let (zone, mut rows) = {
            let world = self.device.world();
            (world.zone().clone(), world.rows(first.date(), last.date()))
        };
        rows.retain(|row| {
            let start = row.start.to_zoned(zone.clone()).datetime();
            let is_out = self.faults.lists.iter().any(|fault| fault.leaves_out(start, (first, last)));
            (first..=last).contains(&start) && is_asked(row, &asked[0]) && !is_out
        });
        if rows.is_empty() {
            return Err(self.absent(errno::NO_CDR));
        }
        self.device.count(|counters| counters.cdr_downloads += 1);
        // What goes on without end has no last row.
        let is_endless = self.device.strikes(self.luck, "cdr_endless", self.faults.cdr_endless);
        let is_cut = !is_endless && self.device.strikes(self.luck, "cdr_cut", self.faults.cdr_cut);
        let report = Report {
            options: &self.device.options,
            faults: &self.faults,
            zone: &zone,
            serial_number: &self.device.serial_number(&self.faults),
            luck: self.luck,
            is_cut,
        };
        let (csv, told) = report.write(rows);
        let world = self.device.world();
        let listed = told.into_iter().map(|name| {
            let audio = world.audio(&name);
            (name, audio)
        });
        let rows = is_endless.then(|| Bytes::copy_from_slice(rows_of(&csv)));
        let mut reply = Reply::csv(csv, listed.collect());
        reply.delivery.endless = rows.filter(|rows| !rows.is_empty());
        Ok(reply)
    }

    /// Checks the token and spends the ticket.
    fn spend(&self, is_target: impl Fn(&Target) -> bool, refused: u32) -> Result<(Timestamp, Target), u32> {
        let token = self.check_token()?;
        let random = self.request.text("random");
        if random.is_empty() {
            return Err(errno::BLANK_PARAMETER);
        }
        if self.device.strikes(self.luck, "ticket_expired", self.faults.ticket_expired) {
            return Err(refused);
        }
        let holder = Holder { token, address: self.from };
        let spent = lock(&self.device.tickets).spend(&random, is_target, &holder, self.now);
        self.device.count(|counters| match spent {
            Ok(_) => counters.tickets_used += 1,
            Err(Refusal::Unknown) => counters.tickets_refused += 1,
            Err(Refusal::Expired) => counters.tickets_expired += 1,
            Err(Refusal::Reused) => counters.tickets_reused += 1,
        });
        spent.map_err(|_| refused)
    }

    /// Sends a file, or what a fault puts in its place.
    fn deliver(&self, audio: Source, issued: Timestamp) -> Reply {
        self.device.count(|counters| counters.downloads_started += 1);
        let ticket = self.request.text("random");
        if let Some(mut reply) = self.replacement() {
            reply.ticket = Some(ticket);
            reply.delivery.is_replaced = true;
            return reply;
        }
        let mut reply = Reply::audio(audio, ticket);
        reply.delivery = self.spoil(reply.body.len());
        if self.device.options.ticket_covers_transfer {
            reply.delivery.deadline = Some(add_s(issued, self.device.options.ticket_ttl.as_secs()));
        }
        reply
    }

    /// What is sent instead of the file.
    fn replacement(&self) -> Option<Reply> {
        let faults = &self.faults;
        let strikes = |name, probability| self.device.strikes(self.luck, name, probability);
        if strikes("json_body", faults.json_body) {
            return Some(Reply::failure(errno::JSON_MEMORY, self.device.options.profile));
        }
        for (name, probability, status) in [
            ("html_200", faults.html_200, 200),
            ("html_503", faults.html_503, 503),
            ("html_504", faults.html_504, 504),
        ] {
            if strikes(name, probability) {
                return Some(Reply::html(status));
            }
        }
        strikes("empty_body", faults.empty_body)
            .then(|| Reply::audio(Source::bytes(Bytes::new()), String::new()))
    }

    /// How the file is broken on its way.
    fn spoil(&self, length: u64) -> Delivery {
        let (faults, luck) = (&self.faults, self.luck);
        let strikes = |name, probability| self.device.strikes(luck, name, probability);
        // The last byte may be padding, which nobody would miss. A file without a byte has no middle.
        let middle = |what| luck.between(what, 1, length.saturating_sub(1)).min(length);
        let mut delivery = Delivery::default();
        if strikes("stall", faults.stall) {
            delivery.stall = Some((middle("stall_at"), seconds(faults.stall_s)));
        }
        if strikes("truncate_wav_header", faults.truncate_wav_header) {
            delivery.cut = Some((luck.between("header_at", 1, 44).min(length), Cut::Clean));
        }
        if strikes("truncate", faults.truncate) {
            delivery.cut = Some((middle("truncate_at"), Cut::Clean));
        }
        if strikes("reset", faults.reset) {
            delivery.cut = Some((middle("reset_at"), Cut::Reset));
        }
        if strikes("bit_flip", faults.bit_flip) {
            let first = WAV_HEADER_BYTES.min(length / 2);
            delivery.flipped_bit = Some(luck.between("flip_at", first * 8, length * 8));
        }
        if strikes("wrong_length", faults.wrong_length) {
            let is_more = luck.draw("more").is_multiple_of(2);
            delivery.declared_bytes = Some(if is_more { length + 1000 } else { length / 2 });
        }
        delivery.resets_after = strikes("reset_after", faults.reset_after);
        delivery.bytes_per_s = strikes("drip", faults.drip).then_some(faults.drip_bytes_per_s);
        delivery.is_head_cut = strikes("truncate_head", faults.truncate_head);
        if strikes("endless", faults.endless) {
            let byte = (luck.draw("endless") & 0xff) as u8;
            delivery.endless = Some(vec![byte; ENDLESS_BYTES].into());
        }
        delivery
    }
}
