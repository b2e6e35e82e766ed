//! What the tests of the page are made from, and the tests of the whole page.

use super::*;
use crate::base::digest::Digest;
use crate::base::recording::Text;
use crate::proof::export::lists::Absence;
use crate::store::export::{FileRow, RecordingRow};
use crate::store::sql::RowText;

const FOLDER: &str = "hq/2026/01/09/";
const AT: Timestamp = Timestamp::constant(1_767_945_600, 0);

pub(super) fn call(id: i64, recording: Option<i64>, row: &str) -> CallRow {
    CallRow {
        id,
        pbx: "hq".to_owned(),
        day: "2026-01-09".to_owned(),
        started_at: Some(AT),
        utc_offset_s: 3600,
        offset_source: "zone".to_owned(),
        zone_offset_s: None,
        talk_s: Some(61),
        first_seen_at: Timestamp::UNIX_EPOCH,
        row: RowText::parse(row.to_owned()).unwrap(),
        recording_id: recording,
        path: None,
        state: None,
    }
}

/// One with one file.
pub(super) fn recording(id: i64, file_name: &str) -> Recording {
    let row = RecordingRow {
        id,
        pbx: "hq".to_owned(),
        sn: "369".to_owned(),
        kind: "call".to_owned(),
        name: file_name.replace("%20", " ").into_bytes(),
        day: "2026-01-09".to_owned(),
        started_at: AT,
        path: format!("{FOLDER}{file_name}"),
        state: "archived".to_owned(),
        reason: None,
        is_final: false,
        attempts: 1,
        extension: None,
        caller: None,
        utc_offset_s: None,
    };
    Recording { row, files: vec![file(file_name)], call: None }
}

pub(super) fn file(name: &str) -> FileRow {
    FileRow {
        path: format!("{FOLDER}{name}"),
        size_bytes: 1,
        sha256: Digest::default(),
        sidecar_sha256: Digest::default(),
        format: "pcm".to_owned(),
        duration_ms: Some(60_700),
        suspect: String::new(),
        archived_at: Timestamp::UNIX_EPOCH,
        ledger_number: 7,
    }
}

/// Of the file `a.wav`.
pub(super) fn absence(state: &str, reason: &str, file: Option<&str>) -> Absence {
    Absence {
        path: format!("{FOLDER}a.wav"),
        pbx: "hq".to_owned(),
        kind: "call".to_owned(),
        name: Text::Utf8("a.wav".to_owned()),
        day: "2026-01-09".to_owned(),
        started_at: None,
        state: state.to_owned(),
        reason: Some(reason.to_owned()),
        r#final: false,
        attempts: None,
        archived_sha256: None,
        found_sha256: None,
        file: file.map(str::to_owned),
    }
}

/// The first element that is not closed where it should be.
pub(super) fn unbalanced(page: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let name = tag.split([' ', '>', '\n']).next().unwrap_or_default();
        match name.strip_prefix('/') {
            _ if matches!(name, "!DOCTYPE" | "meta" | "br") => {}
            None => open.push(name),
            Some(name) if open.pop() != Some(name) => return Some(tag.to_owned()),
            Some(_) => {}
        }
    }
    open.pop().map(str::to_owned)
}

/// What a page is made of.
#[derive(Default)]
struct Parts {
    selection: Selection,
    absent: Vec<Absence>,
    certificates: Vec<String>,
    tokens: Vec<Token>,
    selected: String,
}

impl Parts {
    fn of(selection: Selection) -> Self {
        Self { selection, ..Self::default() }
    }

    fn page(&self) -> String {
        let certificates = self.certificates.clone();
        let copied = Copied { certificates, ..Copied::default() };
        let checkpoint = Checkpoint { origin: "callvault/1".to_owned(), size: 9, root: Digest::of("x") };
        let page = Page {
            selected: self.selected.clone(),
            selection: &self.selection,
            copied: &copied,
            recordings: Recordings::new(&self.selection, &self.absent),
            absent: Absent { absent: &self.absent, unknown: &self.selection.unknown },
            checkpoint: &checkpoint,
            signers: Vec::new(),
            tokens: &self.tokens,
            now: Timestamp::UNIX_EPOCH,
        };
        page.render().unwrap()
    }
}

#[test]
fn an_address_is_of_its_file_whatever_its_name() {
    assert_eq!(url("data/hq/a,20(b)~0f.wav"), "data/hq/a%2C20%28b%29~0f.wav");
    assert_eq!(url("data/\"><\u{e9}?#"), "data/%22%3E%3C%C3%A9%3F%23");
}

#[test]
fn every_element_is_closed_whatever_the_names() {
    let hostile = "</td></table><img src=x onerror=alert(1)>\u{202e}&\"'";
    let row = serde_json::json!({"callfrom": hostile, "callto": hostile, "type": hostile, "status": hostile});
    let [mut message, mut excluded] = [("m.wav", "voicemail"), ("e.wav", "call")].map(|(name, kind)| {
        let mut recording = recording(2, name);
        recording.row.kind = kind.to_owned();
        recording.row.caller = Some(hostile.to_owned());
        recording.row.name = [hostile.as_bytes(), b"\xff"].concat();
        recording
    });
    message.files.push(file("a.wav"));
    message.files[0].suspect = hostile.to_owned();
    excluded.files.clear();
    excluded.row.reason = Some(hostile.to_owned());
    let calls = vec![call(1, Some(1), &row.to_string()), call(2, Some(2), "{}"), call(3, None, "{}")];
    let recordings = vec![recording(1, "a.wav"), message, excluded];
    let selection =
        Selection { calls, recordings, unknown: vec![hostile.to_owned()], ..Selection::default() };
    let states = ["gone", "damaged", "missing", "excluded"];
    let absent = states.map(|state| absence(state, hostile, Some(hostile))).into();
    let page = Parts { absent, selected: hostile.to_owned(), ..Parts::of(selection) }.page();
    assert_eq!(unbalanced(&page), None);
    assert!(!page.contains("<img") && !page.contains('\u{202e}'), "{page}");
    assert!(!page.contains("<script") && !page.contains("://"), "nothing runs, nothing comes from elsewhere");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
}

#[test]
fn whether_all_is_here_is_told_in_words_and_numbers() {
    let mut recordings: Vec<Recording> =
        (0..10).map(|number| recording(number, &format!("{number}.wav"))).collect();
    recordings[3].files[0].path = "hq/2026/01/09/a.wav".to_owned();
    for recording in &mut recordings[4..] {
        recording.files.clear();
    }
    for recording in &mut recordings[8..] {
        recording.row.state = "excluded".to_owned();
    }
    let mut parts = Parts::of(Selection { recordings, ..Selection::default() });
    let whole = parts.page();
    assert!(whole.contains("verdict good\">Everything that was selected is here."), "{whole}");
    assert!(
        whole.contains("<b>10</b><span>recordings selected")
            && whole.contains("<b>4</b><span>not archived")
            && whole.contains("<b>2</b><span>kept out by a rule"),
        "{whole}"
    );
    parts.selection.unknown = vec!["nobody.wav".to_owned()];
    assert!(parts.page().contains("verdict fair"));
    parts.selection.unknown.clear();
    parts.absent = vec![absence("missing", "missing", None)];
    assert!(parts.page().contains("verdict fair\">Not everything that was selected is here."));
    parts.absent.push(absence("gone", "it was archived and is gone", None));
    let gone = parts.page();
    assert!(gone.contains("verdict bad\">Not everything that was selected is here as it was archived."));
    assert!(gone.contains("<b>1</b><span>damaged or gone") && gone.contains("<b>3</b><span>here"), "{gone}");
}

#[test]
fn each_day_is_told_with_its_certificates() {
    let mut absent = recording(2, "b.wav");
    absent.files.clear();
    let selection = Selection {
        calls: vec![call(1, Some(1), "{}"), call(2, None, "{}")],
        recordings: vec![recording(1, "a.wav"), absent],
        ..Selection::default()
    };
    let certificates = ["2.html", "10.html", "2.json", "2.json.sig", "x.html"]
        .map(|name| format!("data/hq/2026/01/09/certificate-{name}"));
    let page = Parts { certificates: certificates.into(), ..Parts::of(selection) }.page();
    let row = "<tr><th scope=\"row\"><a href=\"#hq-2026-01-09\">Friday, 9 January 2026</a></th><td>hq</td>\
               <td class=\"number\">2</td><td class=\"number\">1</td><td class=\"number\">1</td>\
               <td><a href=\"data/hq/2026/01/09/certificate-10.html\">revision 10</a>, \
               <a href=\"data/hq/2026/01/09/certificate-2.html\">revision 2</a></td></tr>";
    assert!(page.contains(row), "{page}");
}

#[test]
fn a_day_without_calls_leads_nowhere() {
    let page =
        Parts::of(Selection { recordings: vec![recording(1, "a.wav")], ..Selection::default() }).page();
    assert!(page.contains("<th scope=\"row\">Friday, 9 January 2026</th>") && page.contains("<td>none</td>"));
    assert!(!page.contains("href=\"#hq"), "{page}");
}

#[test]
fn a_call_is_told_with_its_recording_and_nothing_in_it_becomes_markup() {
    let row = r#"{"callfrom":"<script>alert(1)</script>\u202e","callto":{"hex":"ff"},"didnumber":"\"'>",
                  "type":"Inbound","status":"NO ANSWER"}"#;
    let mut recording = recording(1, "a%20b.wav");
    recording.call = Some(0);
    let calls = vec![call(1, Some(1), row)];
    let page = Parts::of(Selection { calls, recordings: vec![recording], ..Selection::default() }).page();
    let cells = "<tr><th scope=\"row\">09:00:00 <small>+01:00</small></th>\
                 <td>&#60;script&#62;alert(1)&#60;/script&#62;\\u{202e}</td><td>hex:ff</td><td>&#34;&#39;&#62;</td>\
                 <td>Inbound, no answer</td><td>1:01</td><td><audio ";
    assert!(page.contains(cells), "{page}");
    let begin = "<section id=\"hq-2026-01-09\" style=\"contain-intrinsic-size: auto 152px\">\n<h3>Friday, 9 January 2026 ";
    assert!(page.contains(begin), "{page}");
    assert!(
        !page.contains("There are no calls")
            && !page.contains("no call names")
            && !page.contains("Voicemail"),
        "{page}"
    );
}

#[test]
fn days_and_pbxs_are_apart() {
    let mut calls = vec![call(1, None, "{}"), call(2, None, "{}"), call(3, None, "{}"), call(4, None, "{}")];
    calls[2].day = "2026-01-10".to_owned();
    calls[3].pbx = "branch".to_owned();
    let page = Parts::of(Selection { calls, ..Selection::default() }).page();
    for words in ["hq \u{b7} 2 calls", "id=\"hq-2026-01-10\"", "id=\"branch-2026-01-09\""] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
}

#[test]
fn what_no_call_names_has_a_table_of_its_own() {
    let mut message = recording(1, "m.wav");
    message.row.kind = "voicemail".to_owned();
    message.row.caller = Some("\"Jane <Doe>\"".to_owned());
    message.row.extension = Some("1003".to_owned());
    message.row.utc_offset_s = Some(3600);
    let mut unplayed = recording(2, "b.wav");
    unplayed.files[0].format = "gsm610".to_owned();
    let recordings = vec![message, unplayed];
    let page = Parts::of(Selection { recordings, ..Selection::default() }).page();
    for words in [
        "<th scope=\"row\">2026-01-09 09:00:00 <small>+01:00</small></th><td>hq</td>\
         <td>&#34;Jane &#60;Doe&#62;&#34;</td><td>1003</td><td><audio",
        "<th scope=\"row\">2026-01-09 08:00:00 <small>UTC</small></th><td>hq</td><td class=\"path\">b.wav</td>",
        "Browsers do not play some of these recordings",
        "There are no calls",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn time_stamps_are_told_by_authority() {
    let token = |size: u64, authority: &str, unverified: Option<&str>| Token {
        size,
        authority: authority.to_owned(),
        at: Timestamp::UNIX_EPOCH,
        unverified: unverified.map(str::to_owned),
    };
    let told = |tokens| Parts { tokens, ..Parts::default() }.page();
    let page = told(vec![
        token(5, "a", None),
        token(1200, "a", None),
        token(7, "b", None),
        token(8, "b", Some("no <signer>")),
        token(9, "c", Some("no certificates")),
    ]);
    for words in [
        "<th scope=\"row\">a</th><td>over the first <a href=\"anchor/5.a.tsr\">5</a>; \
         <a href=\"anchor/1200.a.tsr\">1,200</a> entries (<a href=\"anchor/a.ca.pem\">its certificates</a>)</td>",
        "b</th><td><strong>Not verified</strong>: 1 time stamp over up to 8 entries (no &#60;signer&#62;)</td>",
        "c</th><td><strong>Not verified</strong>: 1 time stamp over up to 9 entries (no certificates)</td>",
        "<a href=\"anchor/7.b.tsr\">7</a> entries (<a href=\"anchor/b.ca.pem\">its certificates</a>)",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let many: Vec<Token> = (1..=25).map(|size| token(size, "a", None)).collect();
    assert!(told(many).contains("20</a>; and 5 more ("));
    assert!(told(Vec::new()).contains("There are none"));
}
