//! What the device holds: calls, recordings, voicemail.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use callvault::base::digest::Digest;
use callvault::simulator::{Profile, SimAudio, SimCall, WavFormat};
use jiff::Timestamp;

use crate::wire::{Client, get, read_wav, start};

#[tokio::test(flavor = "multi_thread")]
async fn equal_options_make_equal_worlds_and_another_seed_another() {
    let one = start(|_| {}).await;
    let same = start(|_| {}).await;
    let other = start(|options| options.seed = 2).await;
    assert_eq!(one.truth(), same.truth());
    assert_ne!(one.truth(), other.truth());
    assert_eq!(one.world(|world| world.all_rows()), same.world(|world| world.all_rows()));
    assert_eq!(one.truth().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cdr_lists_every_recording_in_the_exact_columns() {
    for (profile, version) in
        [(Profile::V1_1, "v1.1.0"), (Profile::V2, "v2.0.0"), (Profile::Compatible, "v0.0.1")]
    {
        let simulator = start(|options| {
            options.profile = profile;
            options.odd_names = 100;
            options.recordings = 400;
        })
        .await;
        let client = Client::new(&simulator, version);
        let csv = client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00").body;
        let mut reader = csv::Reader::from_reader(&csv[..]);
        assert_eq!(
            reader.headers().unwrap().iter().collect::<Vec<_>>().join(","),
            "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn"
        );
        let rows: Vec<csv::ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
        let mut listed: Vec<Vec<u8>> =
            rows.iter().map(|row| row[11].to_vec()).filter(|name| !name.is_empty()).collect();
        listed.sort();
        let count = listed.len();
        listed.dedup();
        assert!(count > listed.len(), "some recordings are named by two rows");
        assert_eq!(listed, simulator.truth().into_iter().map(|truth| truth.name).collect::<Vec<_>>());
        assert!(rows.iter().any(|row| &row[9] == b"Transfer"));
        assert!(rows.iter().any(|row| row[3].starts_with(b"6200(")));
        assert!(rows.iter().any(|row| &row[8] != b"ANSWERED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_time_minus_the_callids_epoch_is_the_zones_offset_on_both_sides_of_a_clock_change() {
    let simulator = start(|options| {
        options.recordings = 600;
        options.today = Some(jiff::civil::date(2024, 10, 28));
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let csv = client.cdr("2024-10-26 00:00:00", "2024-10-28 23:59:59").body;
    let mut offsets = BTreeMap::<i64, u32>::new();
    for row in csv::Reader::from_reader(&csv[..]).records().map(Result::unwrap) {
        let local: jiff::civil::DateTime = row[1].parse().unwrap();
        let epoch: i64 = row[0].split('.').next().unwrap().parse().unwrap();
        let offset = local.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second() - epoch;
        *offsets.entry(offset).or_default() += 1;
    }
    assert!(offsets[&7200] > 100 && offsets[&3600] > 100, "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_is_a_valid_wav_as_long_as_its_call() {
    let simulator = start(|options| {
        options.recordings = 60;
        options.size_bytes = (1000, 700_000);
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let talk: BTreeMap<Vec<u8>, u32> = simulator.world(|world| {
        let rows = world.all_rows().into_iter().filter(|row| row.audio.is_some());
        rows.map(|row| (row.recording, row.talk_duration_s)).collect()
    });
    let truth = simulator.truth();
    let mut formats = BTreeMap::<u16, u32>::new();
    for truth in truth {
        let body = client.download(&truth.name).body;
        assert_eq!((Digest::of(&body), body.len() as u64), (truth.sha256, truth.size_bytes));
        let wav = read_wav(&body);
        *formats.entry(wav.format).or_default() += 1;
        let seconds = wav.samples as f64 / 8000.0;
        assert!((f64::from(talk[&truth.name]) - seconds).abs() <= 1.0);
    }
    assert_eq!(formats.keys().copied().collect::<Vec<_>>(), [1, 6, 7, 0x31]);
    let counters = simulator.counters();
    assert_eq!((counters.downloads_ok, counters.tickets_used, counters.connections_peak), (60, 60, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_change_the_world_while_it_is_served() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let names: Vec<Vec<u8>> = simulator.truth().into_iter().map(|truth| truth.name).collect();
    simulator.world(|world| {
        world.delete_audio(&names[0]);
        world.rename(&names[1], b"renamed.wav");
        world.remove_rows(&names[2]);
        world.rewrite(&names[3], |row| {
            row.talk_duration_s = 4321;
            true
        });
        let noon = Timestamp::from_second(1_711_800_000).unwrap();
        world.add_call(SimCall::recorded(noon, 7, *b"new.wav", SimAudio::Given("RIFFnot".into())));
    });
    assert_eq!(client.ticket(&names[0]).errno(), "20014");
    assert_eq!(client.ticket(&names[1]).errno(), "20014");
    assert!(client.download(b"renamed.wav").body.starts_with(b"RIFF"));
    assert!(client.download(&names[2]).body.starts_with(b"RIFF"));
    assert_eq!(client.download(b"new.wav").text(), "RIFFnot");
    let csv = client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00").text();
    assert!(csv.contains("renamed.wav") && csv.contains(",4321,") && csv.contains("new.wav"));
    let listed = |name: &[u8]| csv.contains(&*String::from_utf8_lossy(name));
    assert!(listed(&names[0]) && !listed(&names[2]));
    assert_eq!(simulator.truth().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_bytes_can_be_fetched() {
    let simulator = start(|options| {
        options.recordings = 0;
        options.odd_names = 100;
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let truth = simulator.truth();
    assert!(truth.len() > 20);
    for truth in truth {
        let mut body = b"{\"recording\":\"".to_vec();
        for byte in &truth.name {
            match byte {
                b'"' | b'\\' => body.extend([b'\\', *byte]),
                0..0x20 => body.extend(format!("\\u{byte:04x}").bytes()),
                _ => body.push(*byte),
            }
        }
        body.extend(b"\"}");
        let reply = client.post("recording/get_random", body);
        let text = reply.text();
        let random = &text[text.len() - 34..text.len() - 2];
        let file = get(client.address, &client.target(&truth.name, random));
        assert_eq!(Digest::of(file.body), truth.sha256, "{:?}", String::from_utf8_lossy(&truth.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn voicemail_is_listed_by_box_and_fetched_by_place() {
    let simulator = start(|options| options.voicemails = 12).await;
    let client = Client::new(&simulator, "v1.1.0");
    let messages = simulator.world(|world| world.voicemails().clone());
    let mut found = 0;
    let list: serde_json::Value = serde_json::from_slice(&client.post("voicemail/query", "").body).unwrap();
    for mailbox in list["voicemails"].as_array().unwrap() {
        for message in mailbox["voicemail"].as_array().unwrap() {
            let (extension, file) =
                (mailbox["extid"].as_str().unwrap(), message["voicemailfile"].as_str().unwrap());
            let status = message["voicemailstatus"].as_str().unwrap();
            let body =
                serde_json::json!({ "extid": extension, "voicemailfile": file, "voicemailstatus": status });
            let random = client.post("voicemail/get_random", body.to_string()).member("random");
            let target = format!(
                "/api/v1.1.0/voicemail/download?extid={extension}&voicemailstatus={status}&token={}&voicemailfile={file}&random={random}",
                client.token
            );
            let body = get(client.address, &target).body;
            assert!(messages.iter().any(|known| known.audio.to_vec() == body));
            found += 1;
        }
    }
    assert_eq!(found, 12);
    simulator.world(|world| world.voicemails().clear());
    assert_eq!(client.post("voicemail/query", "{}").text(), "{\"status\":\"Success\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_calls_are_planned_at_once_and_read_by_day() {
    let begun = Instant::now();
    let simulator = start(|options| {
        options.recordings = 1_000_000;
        options.days = 180;
        options.size_bytes = (1_000_000, 1_000_000);
        options.formats = vec![WavFormat::Pcm16];
    })
    .await;
    let day = simulator.world(|world| world.rows(world.today(), world.today()));
    assert!(day.len() > 5000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let name = day.into_iter().rev().find(|row| row.audio.is_some()).unwrap().recording;
    let client = Client::new(&simulator, "v1.1.0");
    assert_eq!(client.download(&name).body.len(), 1_000_000);
}
