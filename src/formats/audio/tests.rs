use proptest::prelude::*;

use super::*;

/// A `fmt ` chunk's content: tag, channels, rate, byte rate, block align, bits.
fn fmt(tag: u16, channels: u16, rate: u32, byte_rate: u32, align: u16, bits: u16) -> Vec<u8> {
    [
        &tag.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &byte_rate.to_le_bytes(),
        &align.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat()
}

fn pcm16() -> Vec<u8> {
    fmt(1, 1, 8000, 16_000, 2, 16)
}

fn chunk(id: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut chunk = [&id[..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn wav(chunks: &[Vec<u8>]) -> Vec<u8> {
    let content = [b"WAVE".to_vec(), chunks.concat()].concat();
    [b"RIFF".to_vec(), u32::try_from(content.len()).unwrap().to_le_bytes().to_vec(), content].concat()
}

fn simple(fmt: &[u8], data: &[u8]) -> Vec<u8> {
    wav(&[chunk(b"fmt ", fmt), chunk(b"data", data)])
}

fn with_sizes(mut wav: Vec<u8>, riff: u32, data: u32) -> Vec<u8> {
    wav[4..8].copy_from_slice(&riff.to_le_bytes());
    wav[40..44].copy_from_slice(&data.to_le_bytes());
    wav
}

fn probe(bytes: &[u8]) -> Result<Audio, AudioError> {
    let mut probe = AudioProbe::new();
    probe.push(bytes);
    probe.finish()
}

fn mismatch(bytes: &[u8]) -> SizeMismatch {
    match probe(bytes) {
        Err(AudioError::Size(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_codec_of_a_pbx_is_named_and_timed() {
    let extensible = [
        fmt(0xfffe, 2, 16_000, 64_000, 4, 16),
        b"\x16\x00\x10\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
            .to_vec(),
    ]
    .concat();
    for (fmt, bytes, format, word, duration_ms) in [
        (pcm16(), 16_000, AudioFormat::Pcm, "pcm", Some(1000)),
        (fmt(1, 2, 8000, 32_000, 4, 16), 16_000, AudioFormat::Pcm, "pcm", Some(500)),
        (fmt(1, 1, 8000, 0, 0, 16), 16_000, AudioFormat::Pcm, "pcm", Some(1000)),
        (fmt(3, 1, 8000, 32_000, 4, 32), 16_000, AudioFormat::Float, "float", Some(500)),
        (fmt(6, 1, 8000, 8000, 1, 8), 12_000, AudioFormat::ALaw, "alaw", Some(1500)),
        (fmt(7, 1, 8000, 8000, 1, 8), 801, AudioFormat::MuLaw, "mulaw", Some(100)),
        (
            [fmt(0x31, 1, 8000, 1625, 65, 0), vec![2, 0, 0x40, 1]].concat(),
            1625,
            AudioFormat::Gsm610,
            "gsm610",
            Some(1000),
        ),
        (fmt(0x31, 1, 8000, 1650, 33, 0), 1650, AudioFormat::Gsm610, "gsm610", Some(1000)),
        // 15 blocks of 505 samples, and one of 423.
        (fmt(0x11, 1, 8000, 4055, 256, 4), 4055, AudioFormat::Adpcm, "adpcm", Some(999)),
        (fmt(2, 1, 8000, 4096, 256, 4), 4096, AudioFormat::Adpcm, "adpcm", Some(1000)),
        (fmt(0x45, 1, 8000, 4000, 1, 4), 4000, AudioFormat::G726, "g726", Some(1000)),
        (fmt(0x65, 1, 16_000, 8000, 1, 8), 8000, AudioFormat::G722, "g722", Some(1000)),
        (fmt(0x55, 1, 8000, 2000, 1, 0), 2000, AudioFormat::Other, "other", Some(1000)),
        (fmt(1, 0, 0, 0, 0, 0), 2000, AudioFormat::Pcm, "pcm", None),
        (extensible, 64_000, AudioFormat::Pcm, "pcm", Some(1000)),
    ] {
        let audio = probe(&simple(&fmt, &vec![9; bytes])).unwrap();
        assert_eq!(
            (audio.format, audio.duration_ms, audio.format.as_str()),
            (format, duration_ms, word),
            "{fmt:?}"
        );
        assert_eq!(audio.data_bytes, bytes as u64);
        assert!(!audio.empty && !audio.riff_size_wrong);
    }
}

#[test]
fn chunks_before_and_after_the_audio_are_passed_over() {
    let list = chunk(b"LIST", b"odd");
    let file = wav(&[
        list.clone(),
        chunk(b"fact", &400_u32.to_le_bytes()),
        chunk(b"fmt ", &[pcm16(), vec![0, 0]].concat()),
        chunk(b"data", &[5; 801]),
        list,
    ]);
    let audio = probe(&file).unwrap();
    assert_eq!(
        (audio.data_bytes, audio.declared_bytes, audio.received_bytes),
        (801, file.len() as u64, file.len() as u64)
    );

    let by_fact = wav(&[
        chunk(b"fmt ", &fmt(0x83, 1, 8000, 0, 10, 0)),
        chunk(b"fact", &4000_u32.to_le_bytes()),
        chunk(b"data", &[5; 10]),
    ]);
    assert_eq!(probe(&by_fact).unwrap().duration_ms, Some(500));
}

#[test]
fn what_is_not_audio_is_told_apart() {
    for (bytes, wanted) in [
        (&b""[..], AudioError::NotAudio),
        (br#"{"status":"Failed","errno":"20010"}"#, AudioError::NotAudio),
        (b"RIFF", AudioError::NotAudio),
        (b"RIFF\x24\0\0\0AVI fmt ", AudioError::NotAudio),
        (b"RIFF\x24\0\0\0WAVEfmt ", AudioError::NoData),
        (&wav(&[chunk(b"data", &[0; 4])]), AudioError::NoFormat),
        (&simple(b"short", &[0; 4]), AudioError::NoFormat),
        (&wav(&[chunk(b"fmt ", &pcm16())]), AudioError::NoData),
    ] {
        assert_eq!(probe(bytes), Err(wanted), "{:?}", &bytes[..bytes.len().min(40)]);
    }
    let mut endless = AudioProbe::new();
    endless.push(b"<html><body>");
    assert_eq!(endless.rejection(), Some(&AudioError::NotAudio));
}

#[test]
fn a_size_that_does_not_fit_is_named_with_the_audio_that_is_there() {
    let whole = simple(&pcm16(), &[7; 1000]);
    let cut = mismatch(&whole[..444]);
    assert_eq!((cut.kind, cut.declared, cut.received), (SizeMismatchKind::Truncated, 1044, 444));
    assert_eq!((cut.audio.data_bytes, cut.audio.duration_ms), (400, Some(25)));
    assert_eq!(cut.to_string(), "an audio file that is cut off: 1044 bytes declared, 444 received");

    let longer = mismatch(&[&whole[..], b"xx"].concat());
    assert_eq!((longer.kind, longer.declared, longer.received), (SizeMismatchKind::Longer, 1044, 1046));

    let cut_after_audio = mismatch(&with_sizes([&whole[..], b"LIST"].concat(), 1100, 1000));
    assert_eq!((cut_after_audio.kind, cut_after_audio.declared), (SizeMismatchKind::Truncated, 1108));

    for (riff, data) in [
        (0, 0),
        (36, 0),
        (u32::MAX, u32::MAX),
        (36, u32::MAX),
        (1036, 0),
        (0x7fff_f024, 0x7fff_f000),
        (0x7fff_ffff, 0x7fff_ffff),
        (0x8000_0000, 0x8000_0000),
        (u32::MAX - 8, u32::MAX - 44),
    ] {
        let open = mismatch(&with_sizes(whole.clone(), riff, data));
        assert_eq!(open.kind, SizeMismatchKind::Placeholder, "{riff} {data}");
        assert_eq!(
            (open.audio.data_bytes, open.audio.duration_ms, open.audio.silent),
            (1000, Some(62), Some(false))
        );
    }
}

#[test]
fn a_wrong_riff_size_around_complete_audio_is_only_remarked() {
    let whole = simple(&pcm16(), &[7; 1000]);
    for riff in [0, u32::MAX, 36, 1000, 5000] {
        let audio = probe(&with_sizes(whole.clone(), riff, 1000)).unwrap();
        assert!(audio.riff_size_wrong, "{riff}");
        assert_eq!(audio.data_bytes, 1000);
    }
}

#[test]
fn the_byte_that_makes_a_chunk_even_may_be_there_or_not_counted_or_not() {
    let padded = simple(&fmt(6, 1, 8000, 8000, 1, 8), &[1; 999]);
    for riff in [1035, 1036] {
        for len in [1043, 1044] {
            let audio = probe(&with_sizes(padded.clone(), riff, 999)[..len]).unwrap();
            assert!(!audio.riff_size_wrong, "{riff} {len}");
            assert_eq!(audio.data_bytes, 999);
        }
    }
}

#[test]
fn a_header_without_audio_is_empty_not_damaged() {
    let empty = simple(&pcm16(), &[]);
    assert_eq!(empty.len(), 44);
    for (riff, data) in [(36, 0), (0, 0), (u32::MAX, u32::MAX)] {
        let audio = probe(&with_sizes(empty.clone(), riff, data)).unwrap();
        assert!(audio.empty && audio.silent.is_none(), "{riff}");
        assert_eq!(audio.riff_size_wrong, riff != 36);
        assert_eq!(suspicions(&audio, Some(60)), [Suspicion::Empty]);
    }
    let tagged = wav(&[chunk(b"fmt ", &pcm16()), chunk(b"data", &[]), chunk(b"LIST", b"INFO")]);
    assert!(probe(&tagged).unwrap().empty);
}

#[test]
fn silence_is_heard_in_every_codec_that_has_it() {
    let g711 = |tag| fmt(tag, 1, 8000, 8000, 1, 8);
    for (fmt, quiet, loud) in [
        (fmt(1, 1, 8000, 8000, 1, 8), &[127, 128, 129][..], &[126][..]),
        (pcm16(), &[0, 0, 8, 0, 0xf8, 0xff], &[9, 0]),
        (fmt(1, 1, 8000, 24_000, 3, 24), &[0, 8, 0, 0, 0xf8, 0xff], &[0, 9, 0]),
        (g711(6), &[0xd5, 0x55], &[0xd4]),
        (g711(7), &[0xff, 0x7f, 0xfe], &[0xfd]),
    ] {
        let long = quiet.repeat(500);
        assert_eq!(probe(&simple(&fmt, &long)).unwrap().silent, Some(true), "{fmt:?}");
        let spoken = [&long, loud, &long].concat();
        assert_eq!(probe(&simple(&fmt, &spoken)).unwrap().silent, Some(false), "{fmt:?}");
        for step in [1, 5, 64] {
            let mut probe = AudioProbe::new();
            simple(&fmt, &long).chunks(step).for_each(|chunk| probe.push(chunk));
            assert_eq!(probe.finish().unwrap().silent, Some(true), "{fmt:?} {step}");
        }
    }
    assert_eq!(probe(&simple(&fmt(0x31, 1, 8000, 1625, 65, 0), &[0; 650])).unwrap().silent, None);
}

#[test]
fn the_bound_is_known_from_the_header_on_and_only_if_it_was_finalised() {
    let whole = simple(&pcm16(), &[7; 999]);
    let mut early = AudioProbe::new();
    early.push(&whole[..43]);
    assert_eq!(early.bound(), None);
    early.push(&whole[43..44]);
    assert_eq!(early.bound(), Some(1044));
    let bound = |riff, data| {
        let mut probe = AudioProbe::new();
        probe.push(&with_sizes(whole.clone(), riff, data)[..60]);
        probe.bound()
    };
    assert_eq!(bound(36, 999), Some(1044));
    assert_eq!(bound(2000, 999), Some(2008));
    assert_eq!(bound(0, 999), Some(1044));
    assert_eq!(bound(36, 0), None);
    assert_eq!(bound(u32::MAX, u32::MAX), None);
    assert_eq!(bound(u32::MAX - 1, u32::MAX - 1), Some((1 << 32) + 44 - 2));
}

#[test]
fn audio_is_suspect_if_it_is_short_silent_or_of_an_unknown_codec() {
    let minute = probe(&simple(&fmt(6, 1, 8000, 8000, 1, 8), &[1; 480_000])).unwrap();
    for (talk_s, short) in [
        (None, false),
        (Some(0), false),
        (Some(60), false),
        (Some(65), false),
        (Some(66), false),
        (Some(67), true),
        (Some(u64::MAX), true),
    ] {
        assert_eq!(suspicions(&minute, talk_s) == [Suspicion::Short], short, "{talk_s:?}");
    }
    let hour = Audio { duration_ms: Some(3_240_000), ..minute.clone() };
    assert!(suspicions(&hour, Some(3600)).is_empty());
    assert_eq!(suspicions(&Audio { duration_ms: Some(3_239_999), ..hour }, Some(3600)), [Suspicion::Short]);
    let odd = Audio { silent: Some(true), format: AudioFormat::Other, ..minute };
    assert_eq!(
        suspicions(&odd, None).iter().map(|found| found.as_str()).collect::<Vec<_>>(),
        ["unknown_codec", "silent"]
    );
}

#[test]
fn a_header_that_counts_itself_wrongly_is_told_from_a_transfer_that_broke_off() {
    let whole = simple(&pcm16(), &[7; 1000]);
    // Four bytes too many, the file's size, the RIFF size, twice the audio.
    for size in [1004, 1008, 1044, 1036, 2000] {
        let wrong = mismatch(&with_sizes(whole.clone(), size + 36, size));
        assert_eq!((wrong.kind, wrong.received), (SizeMismatchKind::Impossible, 1044), "{size}");
        assert_eq!(wrong.audio.duration_ms, Some(62));
    }
    for size in [1009, 1500, 1999, 100_000] {
        let cut = mismatch(&with_sizes(whole.clone(), size + 36, size));
        assert_eq!(cut.kind, SizeMismatchKind::Truncated, "{size}");
    }
}

#[test]
fn a_redundant_field_that_is_wrong_changes_no_duration() {
    let minute = vec![9; 960_000];
    for (align, byte_rate, is_disputed) in [
        (2, 16_000, false),
        (4, 16_000, false),
        (1, 16_000, false),
        (2, 32_000, false),
        (0, 0, false),
        (u16::MAX, u32::MAX, true),
        (4, 32_000, true),
        (1, 8000, true),
    ] {
        let audio = probe(&simple(&fmt(1, 1, 8000, byte_rate, align, 16), &minute)).unwrap();
        assert_eq!(
            (audio.duration_ms, audio.header_disputed),
            (Some(60_000), is_disputed),
            "{align} {byte_rate}"
        );
        let found = suspicions(&audio, Some(60));
        assert_eq!(
            found,
            if is_disputed { vec![Suspicion::HeaderFormat] } else { vec![] },
            "{align} {byte_rate}"
        );
        let half = probe(&simple(&fmt(1, 1, 8000, byte_rate, align, 16), &minute[..480_000])).unwrap();
        assert!(suspicions(&half, Some(60)).contains(&Suspicion::Short), "{align} {byte_rate}");
    }
}

#[test]
fn one_silent_side_of_a_longer_call_is_half_a_conversation() {
    for (fmt, quiet, loud) in [
        (fmt(1, 2, 8000, 32_000, 4, 16), &[0, 0][..], &[9, 9][..]),
        (fmt(1, 2, 8000, 16_000, 2, 8), &[128], &[9]),
        (fmt(6, 2, 8000, 16_000, 2, 8), &[0xd5], &[9]),
        (fmt(7, 2, 8000, 16_000, 2, 8), &[0xff], &[9]),
    ] {
        let frames = |left: &[u8], right: &[u8]| [left, right].concat().repeat(500);
        for (left, right, is_one_sided, is_silent) in [
            (loud, quiet, true, false),
            (quiet, loud, true, false),
            (loud, loud, false, false),
            (quiet, quiet, false, true),
        ] {
            let file = simple(&fmt, &frames(left, right));
            for step in [1, 3, 5, 4096] {
                let mut probe = AudioProbe::new();
                file.chunks(step).for_each(|chunk| probe.push(chunk));
                let audio = probe.finish().unwrap();
                assert_eq!(
                    (audio.one_sided, audio.silent),
                    (is_one_sided, Some(is_silent)),
                    "{fmt:?} {step}"
                );
                let found = |talk_s| suspicions(&Audio { duration_ms: None, ..audio.clone() }, talk_s);
                assert_eq!(found(Some(6)).contains(&Suspicion::OneSided), is_one_sided);
                assert!(
                    !found(Some(5)).contains(&Suspicion::OneSided)
                        && !found(None).contains(&Suspicion::OneSided)
                );
            }
        }
    }
    let mono = probe(&simple(&pcm16(), &[9, 9, 0, 0].repeat(500))).unwrap();
    assert!(!mono.one_sided);
}

proptest! {
    #[test]
    fn any_bytes_are_judged_alike_however_they_come(
        riff: u32, size in 0_u32..200, body in prop::collection::vec(any::<u8>(), 0..200), head in 0_usize..3, step in 1_usize..50,
    ) {
        let file = match head {
            0 => body,
            1 => [b"RIFF".to_vec(), riff.to_le_bytes().to_vec(), b"WAVE".to_vec(), body].concat(),
            _ => with_sizes(simple(&pcm16(), &body), riff % 300, size),
        };
        let mut pushed = AudioProbe::new();
        for chunk in file.chunks(step) {
            pushed.push(chunk);
        }
        prop_assert_eq!(pushed.finish(), probe(&file));
    }

    #[test]
    fn no_cut_of_a_whole_file_passes(length in 1_usize..400, cut in 0_usize..399) {
        let whole = simple(&pcm16(), &vec![3; length * 2]);
        let cut = cut % (length * 2) + 44;
        // An empty file and a cut one differ in what they declare.
        prop_assert!(probe(&whole[..cut.min(whole.len() - 1)]).is_err());
    }
}
