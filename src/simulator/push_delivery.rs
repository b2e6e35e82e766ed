//! Reports on their way: posted until they are answered 200, or sent down the event streams.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audio::SimAudio;
use super::call::SimCall;
use super::device::Device;
use super::lock;
use super::outage::Outage;
use super::push::{Job, Registration, Streamed};
use super::push_report::{Form, boot_up, new_cdr};

/// How long the device waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Reports what there is to report until told to stop.
pub(super) async fn work(device: Arc<Device>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let job = tokio::select! {
            job = device.push.next() => job,
            () = stop.cancelled() => return,
        };
        let (device, stop) = (Arc::clone(&device), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = device.report(job) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

impl Device {
    /// A call ends: it is reported, listed and its recording there, each in its time.
    pub(super) fn end_call(&self, call: SimCall) {
        let push = &self.options.push;
        if push.row_after.is_zero() && push.file_after.is_zero() {
            self.change_world(|world| world.end_call(call.clone()));
        }
        self.push.give(Job::Call(Box::new(call)));
    }

    /// A recorded call of a few seconds that ends now.
    pub(super) fn new_call(&self) -> SimCall {
        let audio = SimAudio::pcm(48_044, self.luck().draw("call"));
        let lasts = SignedDuration::from_secs(i64::from(audio.seconds() + SimCall::RINGS_S));
        let start = self.clock.now().shown - lasts;
        let local = start.to_zoned(self.world().zone().clone()).strftime("%Y%m%d%H%M%S").to_string();
        // Higher than the numbers of the planned calls of any second.
        let seq = 900_000 + self.luck().draw("seq") % 100_000;
        let name = format!("{local}-{}.{seq}-5550142-1003-Inbound.wav", start.as_second());
        SimCall::recorded(start, seq, name, audio)
    }

    async fn report(&self, job: Job) {
        match job {
            Job::Call(call) => {
                tokio::join!(self.appear(&call), self.report_call(&call));
            }
            Job::BootUp => self.report_start().await,
        }
    }

    /// Lists a call whose time has not come when it ended, and lets its recording be fetched.
    async fn appear(&self, call: &SimCall) {
        let push = &self.options.push;
        if push.row_after.is_zero() && push.file_after.is_zero() {
            return;
        }
        let is_file_late = push.file_after > push.row_after;
        sleep(push.row_after).await;
        self.change_world(|world| {
            world.end_call(call.clone());
            if is_file_late {
                world.delete_audio(&call.recording);
            }
        });
        if is_file_late {
            sleep(push.file_after - push.row_after).await;
            self.change_world(|world| world.restore_audio(&call.recording));
        }
    }

    /// Reports are sent only while a token lives, and keep it alive.
    async fn report_call(&self, call: &SimCall) {
        let registration = self.push.registration();
        let has_streams = self.push.streams.receiver_count() > 0;
        let is_wanted = registration.is_some() || has_streams;
        if !is_wanted || !lock(&self.sessions).touch_all(self.timers()) {
            return self.push.count(|counters| counters.unwanted += 1);
        }
        if self.luck().hits("push_dropped", self.options.push.dropped) {
            return self.push.count(|counters| counters.dropped += 1);
        }
        let (zone, sn) = (self.world().zone().clone(), self.serial_number(&self.faults()));
        if has_streams {
            let report = new_cdr(call, Form::V2, &zone, &sn);
            let _ = self.push.streams.send(Streamed::Report(report));
        }
        if let Some(registration) = registration {
            let form = Form::of(&registration, self.options.profile);
            self.deliver(&registration, &new_cdr(call, form, &zone, &sn), form).await;
        }
    }

    async fn report_start(&self) {
        let _ = self.push.streams.send(Streamed::Restart);
        if let Some(registration) = self.push.registration() {
            let form = Form::of(&registration, self.options.profile);
            self.deliver(&registration, &boot_up(form, &self.serial_number(&self.faults())), form).await;
        }
    }

    /// Posts a report until it is answered 200, but not for ever.
    async fn deliver(&self, registration: &Registration, report: &[u8], form: Form) {
        let destination = registration.destination();
        for _ in 0..=self.options.push.resends_max {
            let is_there = self.outages.now() == Outage::None;
            let post = timeout(ANSWER_WITHIN, post(&destination, report, form));
            if is_there && matches!(post.await, Ok(Ok(true))) {
                return self.push.count(|counters| counters.accepted += 1);
            }
            self.push.count(|counters| counters.refused += 1);
            sleep(self.options.push.resend_after).await;
        }
        self.push.count(|counters| counters.given_up += 1);
    }
}

/// Posts a report over a connection of its own; whether it was answered 200.
async fn post(destination: &str, report: &[u8], form: Form) -> io::Result<bool> {
    let (authority, path) = destination.split_once('/').unwrap_or((destination, ""));
    let mut stream = TcpStream::connect(authority).await?;
    let mut request = format!(
        "POST /{path} HTTP/1.1\r\nUser-Agent: WebAPI\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\n"
    );
    // The vendor's samples print none; whether a device sends one is not known, so both are played.
    if form != Form::Malformed {
        request += &format!("Content-Length: {}\r\n", report.len());
    }
    request += "\r\n";
    stream.write_all(&[request.as_bytes(), report].concat()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
