//! The audio probe: one verdict, however the bytes come, and no recording that lacks some of its audio.

use callvault::formats::audio::{
    Audio, AudioError, AudioProbe, Container, SizeMismatchKind, is_long, suspicions,
};

use super::pieces;

pub(crate) fn hold(input: &[u8]) {
    let verdict = judge([input]);
    assert_eq!(judge(pieces(input)), verdict, "in pieces");
    assert_eq!(judge(input.chunks(1)), verdict, "byte by byte");
    match &verdict {
        Ok(audio) => {
            assert_eq!(
                (audio.declared_bytes, audio.received_bytes),
                (input.len() as u64, input.len() as u64)
            );
            if audio.container == Container::Riff {
                assert_eq!(audio.data_bytes, data_bytes(input), "less or more audio than its chunk declares");
            }
            tell(audio);
        }
        Err(AudioError::Size(mismatch)) => {
            assert_eq!(mismatch.received, input.len() as u64);
            assert!(mismatch.audio.data_bytes <= mismatch.received);
            if mismatch.kind == SizeMismatchKind::Truncated {
                assert!(mismatch.declared > mismatch.received, "{mismatch}");
            }
            tell(&mismatch.audio);
        }
        Err(_) => {}
    }
}

/// Judges a body; on the way, what is said of it before its end must agree with what is said then.
fn judge<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Audio, AudioError> {
    let (mut probe, mut received) = (AudioProbe::new(), 0);
    let (mut bound, mut rejection) = (None, None);
    for piece in pieces {
        probe.push(piece);
        received += piece.len() as u64;
        assert!(bound.is_none() || probe.bound() == bound, "a bound that changed");
        assert!(rejection.is_none() || probe.rejection() == rejection.as_ref(), "a rejection taken back");
        (bound, rejection) = (probe.bound(), probe.rejection().cloned());
    }
    let verdict = probe.finish();
    if let Some(rejection) = rejection {
        assert_eq!(verdict, Err(rejection));
    } else if bound.is_some_and(|bound| received > bound) {
        assert!(verdict.is_err(), "more bytes than the bound allows");
    }
    verdict
}

/// The audio that the first `data` chunk holds by its own word, read without any care; none if its size is a placeholder.
fn data_bytes(file: &[u8]) -> u64 {
    let mut at = 12;
    while let Some(&[a, b, c, d, e, f, g, h]) = file.get(at..at + 8) {
        let size = u32::from_le_bytes([e, f, g, h]);
        match [a, b, c, d] {
            id if &id == b"data" && size == u32::MAX => return 0,
            id if &id == b"data" => return u64::from(size),
            _ => at += 8 + (size as usize).next_multiple_of(2),
        }
    }
    panic!("a recording without audio")
}

/// What is concluded from audio, whatever its numbers are.
fn tell(audio: &Audio) {
    for seconds in [0, 60, u64::MAX] {
        let found = suspicions(audio, Some(seconds));
        assert!(found.len() <= 5, "{found:?}");
        let _ = is_long(audio, seconds);
    }
}
