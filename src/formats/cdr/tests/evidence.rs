//! Values against better evidence beside them, and what must never change: versions of what 0.1 has stored.

use jiff::civil::{date, datetime};

use super::*;

fn one(line: &str) -> CdrRow {
    let items = read(format!("{HEADER}\n{line}\n"));
    rows(&items).first().map(|row| (*row).clone()).unwrap_or_else(|| panic!("{items:?}"))
}

/// Computed by version 0.1.
#[test]
fn identities_and_versions_are_those_of_version_0_1() {
    for (line, identity, version) in OLD {
        let row = one(line);
        assert_eq!(
            (row.identity().to_string(), row.version().to_string()),
            ((*identity).to_owned(), (*version).to_owned()),
            "{line}"
        );
        let again = CdrRow::from_raw_json(&row.raw_json()).unwrap();
        assert_eq!((again.identity(), again.version()), (row.identity(), row.version()), "{line}");
    }
    // A row that 0.1 kept, with columns that it did not know, is still that call.
    let kept = r##"{"callid":"1709287502.118","timestart":"2024-03-01 12:05:02","callfrom":"5550142","callto":"6200(1003)","callduraction":"71","talkduraction":"58","srctrunkname":"siptrunk1","dsttrunkname":"","status":"ANSWERED","type":"Inbound","pincode":"","recording":"20240301120515-1709287502.118-5550142-1003-Inbound.wav","didnumber":"5550100","sn":"369392500001","Comment":"by hand","#16":"x"}"##;
    let row = CdrRow::from_raw_json(kept).unwrap();
    assert_eq!((row.identity(), row.version()), (one(CALL).identity(), one(CALL).version()));
}

#[test]
fn a_spreadsheet_is_seen_and_the_recordings_name_tells_the_day() {
    let row = one(&CALL
        .replace("1709287502.118,2024-03-01 12:05:02", "1.71E+09,3/1/2024 12:05")
        .replace("369392500001", "3.69E+11"));
    assert!(row.is_rewritten() && row.doubt.is_none());
    assert_eq!(row.serial_number(), None);
    assert_eq!(row.local_start(), Some(datetime(2024, 3, 1, 12, 5, 0, 0)));
    assert_eq!((row.exact_start(), row.epoch()), (None, Some(1_709_287_502)));
    let row = one(&CALL.replace("2024-03-01 12:05:02", "#########"));
    assert!(row.is_rewritten());
    assert_eq!(row.local_start().unwrap().date(), date(2024, 3, 1));
    // Without seconds half a minute is half an hour.
    let row = one(&CALL.replace("369392500001", "3.69E+11").replace(",71,58,", ",0:01,0:58,"));
    assert_eq!((row.callduraction, row.talkduraction), (Reported::Unreadable, Reported::Unreadable));
    assert!(!one(&CALL.replace("369392500001", "369392E00001")).is_rewritten());
    assert_eq!(one(&CALL.replace("369392500001", "369392E00001")).serial_number(), Some("369392E00001"));
    assert_eq!(one(&CALL.replace("369392500001", "NULL")).serial_number(), None);
}

#[test]
fn a_start_that_contradicts_the_calls_id_is_doubtful_and_its_recording_is_named() {
    for (start, doubt) in [
        ("2024-03-01 12:05:02", None),
        ("2024-03-01 20:05:02", None),
        ("2024-03-02 11:00:00", None),
        ("1970-01-01 00:00:05", Some(DoubtCause::StartContradictsCallid)),
        ("2025-03-01 12:05:02", Some(DoubtCause::StartContradictsCallid)),
        ("", None),
    ] {
        let row = one(&CALL.replace("2024-03-01 12:05:02", start));
        assert_eq!(row.doubt, doubt, "{start}");
        assert!(row.recording.is_some());
        assert_eq!(CdrRow::from_raw_json(&row.raw_json()).unwrap().doubt, doubt);
    }
    let row = one(&CALL.replace("1709287502.118,2024-03-01", "118,2025-03-01"));
    // The name still tells the id that the row does not.
    assert_eq!(row.doubt, Some(DoubtCause::StartContradictsName));
}

#[test]
fn words_for_nothing_are_nothing_but_in_a_recordings_name() {
    for word in ["NULL", r"\N", "None", "N/A", "-", "nil"] {
        let row = one(&CALL.replace("369392500001", word).replace("71,58", &format!("71,{word}")));
        assert_eq!((row.serial_number(), row.talkduraction), (None, Reported::Absent), "{word}");
        let row = one(&CALL.replace("20240301120515-1709287502.118-5550142-1003-Inbound.wav", word));
        assert_eq!(row.recording.unwrap().as_bytes(), word.as_bytes());
    }
}

#[test]
fn whether_there_may_be_something_to_hear_is_false_only_if_that_is_known() {
    for (status, talk, may) in [
        ("ANSWERED", "58", true),
        ("ANSWERED", "0", false),
        ("ANSWERED", "0:58", true),
        ("ANSWERED", "x", true),
        ("ANSWERED", "", true),
        ("NO ANSWER", "", false),
        ("NO ANSWER", "x", false),
        ("NO ANSWER", "3", true),
        ("BUSY", "0", false),
        ("Beantwortet", "", true),
        ("", "", true),
    ] {
        let row = one(&CALL.replace("ANSWERED", status).replace("71,58", &format!("71,{talk}")));
        assert_eq!(row.may_have_talk(), may, "{status} {talk}");
    }
}

const OLD: &[(&str, &str, &str)] = &[
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),71,58,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001",
        "88d69dccd83793c4548fc7d46c3c00b3ff2ecab52d9e44d83c1b328710d6dc21",
        "0c051319c04a51ba51cdd28b9c1571790c775288b9c48407dca78052270b79a7",
    ),
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),0:01:11,0:58,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001",
        "88d69dccd83793c4548fc7d46c3c00b3ff2ecab52d9e44d83c1b328710d6dc21",
        "1ab95deb1b062d724886a7bef075e3bb4445220d322526b36e4c6a8085c294b8",
    ),
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),71.0,58s,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001",
        "88d69dccd83793c4548fc7d46c3c00b3ff2ecab52d9e44d83c1b328710d6dc21",
        "a102f2f7af67e0e94a659ef255cdc64ef2bd31d3215d2c4a5ed358728579f380",
    ),
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003), 71 ,NULL,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001",
        "88d69dccd83793c4548fc7d46c3c00b3ff2ecab52d9e44d83c1b328710d6dc21",
        "1ab95deb1b062d724886a7bef075e3bb4445220d322526b36e4c6a8085c294b8",
    ),
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),71,58,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,3.69E+11",
        "9920e069fee097e14c492f7bb7a0540b21f1b47675dd1635ffc31b3b3075b066",
        "66c38e498b281ad7f2c4d6561ad4a35290dc3cbce864f665b19198cfd111b140",
    ),
    (
        "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),71,58,NULL,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001",
        "30a1321ac202c3717a9f07ace4845eb0e507b61c1b995914ae404634f2567ed5",
        "0ff9abab42d73b8a99845851f2c1b2539beded53fd375e55a932de760dda2551",
    ),
    (
        "1795222318.100,2026-11-21 01:51:58,09420994577,1001,22,14,siptrunk1,,ANSWERED,Inbound,,20261121015207-1795222318.100-09420994577-1001-Inbound.wav,5550100,369392500001",
        "8265573bf1c3e69a0438aebb59ba359dbe11613bcbc76dc7d5b8de43bd13e2b1",
        "9e7e3c8af359d6e8e633613d46bc40afafc93f0a7dc209f9741d19d049c00531",
    ),
];

#[test]
fn every_cause_has_a_word_of_its_own_that_is_read_again() {
    for cause in DoubtCause::ALL {
        assert_eq!(cause.as_str().parse(), Ok(*cause));
        assert!(!cause.sentence().is_empty());
    }
    assert!("Shifted".parse::<DoubtCause>().is_err());
}
