//! Reports of a PBX, posted or streamed: heard alike however they come, and never more than a nudge.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use callvault::pbx::push::{PushKind, Report, Request, Unread, read_request, take_events};
use tokio::io::{AsyncRead, ReadBuf};

use super::pieces;

/// What a stream keeps for the next bytes.
const PENDING_BYTES_MAX: usize = 256;
/// The largest serial number that is looked at.
const VALUE_BYTES_MAX: usize = 64;
/// Blanks in each of the two places within a member, beyond which its parts may be too far from each other for a stream.
const BLANKS_MAX: usize = (PENDING_BYTES_MAX - VALUE_BYTES_MAX - br#""action":"""#.len()) / 2;

pub(crate) fn hold(input: &[u8]) {
    if let Some(report) = Report::read(input) {
        // What is no UTF-8 takes up to three bytes for each of its own.
        assert!(report.sn.is_none_or(|sn| sn.len() <= 3 * VALUE_BYTES_MAX));
    }
    hear_stream(input);
    receive(input);
}

fn hear_stream(input: &[u8]) {
    let events = heard([input]);
    assert!(events.len() <= input.len() / br#""event":"""#.len());
    if !has_long_blanks(input) {
        assert_eq!(heard(pieces(input)), events, "in pieces");
        assert_eq!(heard(input.chunks(1)), events, "byte by byte");
    }
}

fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<PushKind>> {
    let (mut pending, mut events) = (Vec::new(), Vec::new());
    for piece in pieces {
        pending.extend_from_slice(piece);
        events.extend(take_events(&mut pending));
        assert!(pending.len() <= PENDING_BYTES_MAX, "{} bytes are kept", pending.len());
    }
    events
}

fn has_long_blanks(input: &[u8]) -> bool {
    input.split(|byte| !byte.is_ascii_whitespace()).any(|blanks| blanks.len() > BLANKS_MAX)
}

/// A posted message, and what it says, do not depend on how it comes.
fn receive(input: &[u8]) {
    let whole = read(vec![input]);
    for pieces in [pieces(input), input.chunks(1).collect()] {
        let read = read(pieces);
        match (&whole, &read) {
            (Ok(whole), Ok(read)) => {
                assert_eq!(read.path, whole.path);
                // More may have come along with what was waited for, and name an event.
                let (less, more) =
                    if read.body.len() < whole.body.len() { (read, whole) } else { (whole, read) };
                let heard = Report::read(&less.body).map(|report| report.kind);
                assert!(more.body.starts_with(&less.body));
                assert!(heard.is_none() || heard == Report::read(&more.body).map(|report| report.kind));
            }
            _ => assert_eq!(read.as_ref().err(), whole.as_ref().err()),
        }
    }
    if let Ok(request) = whole {
        assert!(!request.path.contains(['?', ' ', '\r', '\n']), "{}", request.path);
    }
}

fn read(pieces: Vec<&[u8]>) -> Result<Request, Unread> {
    let mut connection = Connection(pieces.into_iter());
    // Its bytes are always there, so it is never waited for.
    match pin!(read_request(&mut connection)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("a connection that never waits was waited for"),
    }
}

/// A connection over which these pieces come, none empty, and which is closed then.
struct Connection<'a>(std::vec::IntoIter<&'a [u8]>);

impl AsyncRead for Connection<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Some(piece) = self.0.as_slice().first().copied() else { return Poll::Ready(Ok(())) };
        let (now, later) = piece.split_at(piece.len().min(into.remaining()));
        into.put_slice(now);
        if later.is_empty() {
            self.0.next();
        } else {
            self.0.as_mut_slice()[0] = later;
        }
        Poll::Ready(Ok(()))
    }
}
