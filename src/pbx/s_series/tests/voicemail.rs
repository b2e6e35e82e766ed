//! Voicemail against scripted connections.

use serde_json::{Value, json};

use super::fake::*;
use crate::base::message::Message;
use crate::config::{ApiVersion, Generation};
use crate::pbx::s_series::*;
use crate::pbx::{Policy, VoicemailList, VoicemailMessage};

/// A list with a number where others have text, and without what may be missing.
const LIST: &str = r#"{"status":"Success","voicemails":[{"extid":1003,"voicemail":[
    {"voicemailfile":"msg0000.wav","messagefrom":"5550142","voicemailstatus":"unread","voicemaildate":"2024-03-01 12:11:40","voicemaillength":"17"},
    {"voicemailfile":"msg0001.wav","voicemaildate":"2024-03-01 12:40:02","voicemaillength":9}]},
    {"number":"1004","voicemail":{"voicemailfile":"msg0000.wav","messagefrom":" 1003 "}},
    {"extid":"1005"}]}"#;

fn at(file: &str, status: Option<&str>, parts: [&str; 4]) -> VoicemailMessage {
    let [extension, date, caller, length] = parts.map(str::to_owned);
    let message = Message { extension, date, caller, length };
    VoicemailMessage { file: file.to_owned(), status: status.map(str::to_owned), message }
}

async fn with_list(reply: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> FakePbx {
    FakePbx::start(move |request| match request.endpoint() {
        "voicemail/query" => reply(),
        _ => healthy(request),
    })
    .await
}

async fn listed(
    reply: impl Fn() -> Vec<Step> + Send + Sync + 'static,
) -> Result<Option<VoicemailList>, PbxError> {
    let fake = with_list(reply).await;
    PbxClient::new(&fake.config()).unwrap().voicemail().await
}

#[tokio::test]
async fn a_list_is_read_whatever_is_quoted_nested_or_left_out() {
    let list = listed(|| http(LIST)).await.unwrap().unwrap();
    let first = ["1003", "2024-03-01 12:11:40", "5550142", "17"];
    let messages = vec![
        at("msg0000.wav", Some("unread"), first),
        at("msg0001.wav", None, ["1003", "2024-03-01 12:40:02", "", "9"]),
        at("msg0000.wav", None, ["1004", "", "1003", ""]),
    ];
    assert_eq!(list, VoicemailList { messages, unreadable: Vec::new() });
}

#[tokio::test]
async fn nothing_stored_is_an_empty_list_and_an_odd_entry_is_counted() {
    let empty = VoicemailList::default();
    for reply in [r#"{"status":"Success"}"#, r#"{"status":"Success","voicemails":null}"#] {
        assert_eq!(listed(move || http(reply)).await.unwrap(), Some(empty.clone()), "{reply}");
    }
    for entry in [
        r#"{"voicemail":[{"voicemailfile":"a"}]}"#,
        "7",
        r#"{"extid":"1","voicemail":[{"voicemaillength":1}]}"#,
    ] {
        let reply = format!(r#"{{"status":"Success","voicemails":[{entry}]}}"#);
        assert_eq!(listed(move || http(&reply)).await.unwrap().unwrap().unreadable.len(), 1, "{entry}");
    }
}

#[tokio::test]
async fn a_list_without_commas_as_the_vendor_prints_it_is_the_same_list() {
    let printed = listed(|| http(LIST.replace("},", "}"))).await.unwrap();
    assert_eq!(printed, listed(|| http(LIST)).await.unwrap());
}

#[tokio::test]
async fn one_message_that_cannot_be_read_is_counted_and_leaves_the_others() {
    let whole = listed(|| http(LIST)).await.unwrap().unwrap();
    let list =
        listed(|| http(LIST.replacen("\"msg0000.wav\"", "\"msg\"0000.wav\"", 1))).await.unwrap().unwrap();
    assert_eq!((list.unreadable.len(), list.messages.len() + 1), (1, whole.messages.len()));
    assert!(list.messages.iter().all(|message| whole.messages.contains(message)));
}

#[tokio::test]
async fn a_list_that_is_no_json_is_an_error_and_not_a_shorter_list() {
    let broken = LIST.replacen("Success", "Succ\"ess", 1);
    let table = [(broken, "protocol"), (LIST[..90].to_owned(), "truncated"), (String::new(), "empty_body")];
    for (reply, reason) in table {
        let error = listed(move || http(&reply)).await.unwrap_err();
        assert_eq!((error.reason().to_string().as_str(), error.policy()), (reason, Policy::Retry));
    }
}

#[tokio::test]
async fn a_device_without_voicemail_is_told_from_one_in_trouble() {
    assert_eq!(listed(|| errno(10003)).await.unwrap(), None);
    assert_eq!(listed(|| status("404 Not Found", "<html>")).await.unwrap(), None);
    assert!(listed(|| errno(20010)).await.is_err());
    assert!(listed(|| errno(10006)).await.is_err());
    let fake = FakePbx::start(healthy).await;
    let mut config = fake.config();
    config.api_version = ApiVersion { segment: "v1.0.1".to_owned(), generation: Generation::V1_0 };
    assert_eq!(PbxClient::new(&config).unwrap().voicemail().await.unwrap(), None);
    assert_eq!(fake.count("voicemail/query"), 0);
    let fake = FakePbx::start(|request| match request.endpoint() {
        "login" => errno(20003),
        _ => healthy(request),
    })
    .await;
    let error = PbxClient::new(&fake.config()).unwrap().voicemail().await.unwrap_err();
    assert_eq!(error.policy(), Policy::Operator);
}

#[tokio::test]
async fn one_box_is_asked_for_and_others_are_left_out() {
    let fake = FakePbx::start(|request| match request.endpoint() {
        "voicemail/query" => {
            assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), json!({"extid": "1004"}));
            http(LIST)
        }
        _ => healthy(request),
    })
    .await;
    let client = PbxClient::new(&fake.config()).unwrap();
    let list = client.slot().await.voicemail_of("1004").await.unwrap();
    assert_eq!(list.messages.len(), 1);
    let fake = with_list(|| errno(10006)).await;
    let client = PbxClient::new(&fake.config()).unwrap();
    assert!(client.slot().await.voicemail_of("1004").await.unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_message_is_fetched_in_the_words_of_each_version() {
    let place = at("msg 1.wav", Some("read"), ["1004", "", "", ""]);
    let table = [
        (Generation::V1_1, true, "extid=1004&voicemailfile=msg%201.wav&voicemailstatus=read"),
        (Generation::V2, true, "number=1004&voicemailfile=msg%201.wav&voicemailstatus=read"),
        (Generation::Compatible, false, "extid=1004&voicemailfile=msg%201.wav"),
    ];
    for (generation, sends_status, query) in table {
        let fake = FakePbx::start(healthy).await;
        let mut config = fake.config();
        config.api_version.generation = generation;
        config.voicemail.sends_status = sends_status;
        let client = PbxClient::new(&config).unwrap();
        let mut slot = client.slot().await;
        let ticket = slot.voicemail_ticket(&place).await.unwrap();
        slot.download(ticket).await.unwrap();
        let [spent] = &fake.heads("voicemail/download")[..] else { panic!("one download") };
        let expected = format!("GET /api/v1.1.0/voicemail/download?{query}&random={RANDOM}0&token={TOKEN}0 ");
        assert!(spent.starts_with(&expected), "{spent}");
    }
}

#[tokio::test]
async fn what_a_place_does_not_hold_is_missing_and_says_where() {
    let fake = FakePbx::start(|request| match request.endpoint() {
        "voicemail/get_random" => errno(20018),
        _ => healthy(request),
    })
    .await;
    let client = PbxClient::new(&fake.config()).unwrap();
    let error = client
        .slot()
        .await
        .voicemail_ticket(&at("msg0000.wav", None, ["1004", "", "", ""]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.policy(), Policy::NotThere);
    assert!(error.to_string().contains("`msg0000.wav` of extension 1004"), "{error}");
}
