use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(bytes: &[u8]) -> Result<Value, JsonError> {
    decode(bytes)
}

#[test]
fn json_of_devices_is_read_where_its_meaning_is_clear() {
    let table: [(&[u8], Value); 34] = [
        (br#"{"a":"b",}"#, json!({"a": "b"})),
        (b"{\"a\":\"b\",\r\n}", json!({"a": "b"})),
        (br#"{"a":["b","c",],}"#, json!({"a": ["b", "c"]})),
        (b"{\"a\":\"b\"}\0", json!({"a": "b"})),
        (b"{\"a\":\"b\"}\0\0\0n\":\"left in a buffer\"}", json!({"a": "b"})),
        (b"\0{\"a\":\"b\"}", json!({"a": "b"})),
        (b"{\"a\":\"b\"}\n<!-- 0.01 s -->", json!({"a": "b"})),
        (b"{\"a\":\"b\"} // took 1 s", json!({"a": "b"})),
        (b"{\"a\":\"b\"} /* 1, 2: 3 */", json!({"a": "b"})),
        (b"{\"a\":\"b\"}\r\n0\r\n\r\n", json!({"a": "b"})),
        (b"{\"a\":\"b\"};", json!({"a": "b"})),
        (b"<!-- begin -->{\"a\":/* x */\"b\"\n// y\n}", json!({"a": "b"})),
        (b"\xef\xbb\xbf {\"a\":\"b\",}", json!({"a": "b"})),
        (br#"[{"a":1}{"a":2} {"a":3}]"#, json!([{"a": 1}, {"a": 2}, {"a": 3}])),
        (br#"[[1][2]]"#, json!([[1], [2]])),
        (b"{\"a\":\"one\ntwo\tthree\r\n\x01\"}", json!({"a": "one\ntwo\tthree\r\n\u{1}"})),
        (b"{\"a\":\"S100\0\0\0\"}", json!({"a": "S100"})),
        (br#"{"a":"C:\autorecords"}"#, json!({"a": "C:\\autorecords"})),
        (br#"{"a":"\u12G4 \x41 \u"}"#, json!({"a": "\\u12G4 \\x41 \\u"})),
        (br#"{"a":"\ud800 \udc00 \ud83d\ude00",}"#, json!({"a": "\u{fffd} \u{fffd} 😀"})),
        (b"{\"a\":\"\xd6\xd0\"}", json!({"a": "\u{fffd}\u{fffd}"})),
        (b"{\"a\":\"\xa5\x5c\",\"b\":1}", json!({"a": "\u{fffd}\\", "b": 1})),
        (b"{\"a\":\"x\xa5\x5c\xa5\x5c\"}", json!({"a": "x\u{fffd}\\\u{fffd}\\"})),
        (b"{\"a\":\"caf\xe9\\\"s\",\"b\":1}", json!({"a": "caf\u{fffd}\"s", "b": 1})),
        (br#"{"a":20003,"b":"20003"}"#, json!({"a": 20003, "b": "20003"})),
        (br#"{"a":0017,"b":-5,"c":1.50,"d":+4930}"#, json!({"a": "0017", "b": -5, "c": 1.5, "d": "+4930"})),
        (br#"{"a":.5,"b":5.}"#, json!({"a": ".5", "b": "5."})),
        (br#"{"a":True,"b":False,"c":None,"d":NULL}"#, json!({"a": true, "b": false, "c": null, "d": null})),
        (br#"{'a':'b','c':"d's"}"#, json!({"a": "b", "c": "d's"})),
        (br#"{'a':'it\'s "so"'}"#, json!({"a": "it's \"so\""})),
        (br#"{"a":"it's"}"#, json!({"a": "it's"})),
        (br#"{,}"#, Value::Null),
        (br#"{}"#, json!({})),
        (br#"{"a":{"b":[{"c":[]}]},}"#, json!({"a": {"b": [{"c": []}]}})),
    ];
    for (bytes, expected) in table {
        let told = String::from_utf8_lossy(bytes).into_owned();
        match expected {
            Value::Null => assert!(read(bytes).is_err(), "{told}"),
            expected => assert_eq!(read(bytes), Ok(expected), "{told}"),
        }
    }
}

#[test]
fn what_has_more_than_one_meaning_or_none_is_not_read() {
    let table: [(&[u8], JsonError); 25] = [
        (br#"{"a":"the "best" one"}"#, JsonError::Damaged(11)),
        (br#"{"a":"x"}"}"#, JsonError::Damaged(9)),
        (br#"{"a":"x"} // "}"#, JsonError::Damaged(13)),
        (b"{\"a\":\"x\" /* \"*/}", JsonError::Damaged(9)),
        (br#"{"a":"b"}{"a":"c"}"#, JsonError::Damaged(9)),
        (br#"{"a":"b"}}"#, JsonError::Damaged(9)),
        (br#"{"a":"b",,"c":1}"#, JsonError::Damaged(9)),
        (br#"{"a":"b" "c":1}"#, JsonError::Damaged(9)),
        (br#"["a" "b"]"#, JsonError::Damaged(5)),
        (br#"[1 2]"#, JsonError::Damaged(3)),
        (br#"[1,,2]"#, JsonError::Damaged(3)),
        (br#"{"a":b}"#, JsonError::Damaged(5)),
        (br#"{a:"b"}"#, JsonError::Damaged(1)),
        (br#"{'a':'O'Brien'}"#, JsonError::Damaged(8)),
        (b"{\"a\":\"x\0y\"}", JsonError::Damaged(7)),
        (br#"{"a":2024-03-01}"#, JsonError::Damaged(5)),
        (br#"{"a":"b"#, JsonError::Cut),
        (br#"{"a":"b","#, JsonError::Cut),
        (br#"{"a":tru"#, JsonError::Cut),
        (br#"{"a":12"#, JsonError::Cut),
        (br#"{"a":"\u12"#, JsonError::Cut),
        (b"", JsonError::NotJson),
        (b"<!DOCTYPE html>", JsonError::NotJson),
        (b"hello", JsonError::NotJson),
        (b"\x1f\x8b\x08", JsonError::NotJson),
    ];
    for (bytes, expected) in table {
        assert_eq!(read(bytes), Err(expected), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(read("[".repeat(100).as_bytes()), Err(JsonError::TooLarge));
    assert_eq!(read(",".repeat(3_000_000).as_bytes()), Err(JsonError::TooLarge));
    // Short values, of which each costs many times its bytes.
    assert_eq!(read(format!("[{}[0]]", "[0],".repeat(20_000)).as_bytes()), Err(JsonError::TooLarge));
    let list = |messages: usize| {
        let message =
            r#"{"id":"1","caller":"5550142","time":"2026-01-01 00:00:00","length":"5","status":"unread"},"#;
        format!("[{}]", message.repeat(messages).trim_end_matches(','))
    };
    assert_eq!(decode_list(list(50_000).as_bytes()).unwrap().value.as_array().map(Vec::len), Some(50_000));
    assert_eq!(decode_list(list(100_000).as_bytes()), Err(JsonError::TooLarge));
}

/// A list of boxes; the caller of one message is not escaped.
fn boxes(caller: &str) -> String {
    format!(
        r#"{{"status":"Success","voicemails":[
        {{"extid":"1003","voicemail":[{{"voicemailfile":"msg0000.wav","messagefrom":"1"}},
            {{"voicemailfile":"msg0001.wav","messagefrom":"{caller}"}}, {{"voicemailfile":"msg0002.wav","messagefrom":"3"}}]}},
        {{"extid":"1004","voicemail":[{{"voicemailfile":"msg0000.wav","messagefrom":"4"}}]}}]}}"#
    )
}

#[test]
fn one_entry_that_cannot_be_read_leaves_the_others() {
    let whole: Value = serde_json::from_str(&boxes("2")).unwrap();
    assert_eq!(
        decode_list(boxes("2").as_bytes()).unwrap(),
        Decoded { value: whole.clone(), unreadable: vec![] }
    );
    for caller in ["the \"best\" one", "\"", "\"\"", "a\", b", "a\0b", "\"} ", "x\"}]", "], \"", "\\"] {
        let bytes = boxes(caller);
        let decoded = decode_list(bytes.as_bytes());
        let mut expected = whole.clone();
        expected["voicemails"][0]["voicemail"][1] = Value::Null;
        match decoded {
            Ok(Decoded { value, unreadable }) if value == expected => {
                let [entry] = &unreadable[..] else { panic!("{caller}: {unreadable:?}") };
                assert_eq!(entry.path, "voicemails[0].voicemail[1]");
                let own = &bytes[entry.at_byte..entry.at_byte + entry.bytes];
                assert!(own.starts_with(r#"{"voicemailfile":"msg0001.wav""#) && own.ends_with('}'), "{own}");
                assert_eq!(entry.sha256, Digest::of(own));
            }
            // Where its end is uncertain more is left out, down to all of it, but nothing is invented.
            Ok(Decoded { value, unreadable }) => {
                assert!(!unreadable.is_empty(), "{caller}: {value}");
                assert_eq!(value["voicemails"][1], whole["voicemails"][1], "{caller}");
            }
            Err(error) => assert!(matches!(error, JsonError::Damaged(_)), "{caller}: {error}"),
        }
        assert!(decode(bytes.as_bytes()).is_err(), "{caller}");
    }
    // The next list's end is not that of this one.
    assert!(decode_list(br#"{"a":[{"a":"""},""],"f":[{}]}"#).is_err());
    // The last message of a box, a box by itself, and the last box.
    let last = boxes("2").replace(r#":"3""#, r#":""3"""#);
    let decoded = decode_list(last.as_bytes()).unwrap();
    assert_eq!(decoded.unreadable[0].path, "voicemails[0].voicemail[2]");
    assert_eq!(decoded.value["voicemails"][1], whole["voicemails"][1]);
    for (number, extension) in ["1003", "1004"].iter().enumerate() {
        let broken = boxes("2").replace(&format!("\"{extension}\""), &format!("\"\"{extension}\"\""));
        let decoded = decode_list(broken.as_bytes()).unwrap();
        assert_eq!(decoded.unreadable[0].path, format!("voicemails[{number}]"));
        assert_eq!(decoded.value["voicemails"][1 - number], whole["voicemails"][1 - number]);
    }
}

/// Found by the property below: the end of the text `",.` was taken for a number that cannot be read, its beginning for
/// the whole of it.
#[test]
fn no_entry_is_left_out_beside_one_that_is_no_object() {
    let list = r#"{"a":[{"a":""},"",.",{}]}"#;
    let decoded = decode_list(list.as_bytes());
    assert!(decoded.is_err(), "{decoded:?}");
}

#[test]
fn a_list_that_breaks_off_is_no_shorter_list() {
    for whole in [boxes("2"), boxes("the \"best\"")] {
        for end in 1..whole.len() {
            let cut = decode_list(&whole.as_bytes()[..end]);
            assert!(cut.is_err(), "{}", &whole[..end]);
        }
    }
}

#[test]
fn broken_entries_cost_no_more_than_their_list() {
    let entry = r#"{"a":"x"y"},"#;
    let many = format!("[{}]", entry.repeat(5000).trim_end_matches(','));
    assert_eq!(decode_list(many.as_bytes()).unwrap().unreadable.len(), 5000);
    // Each of these looks for its end up to the end of the list, in vain.
    let endless = format!("[{}", "{\"a\":\"x\"y\"[".repeat(50_000));
    assert!(decode_list(endless.as_bytes()).is_err());
}

/// JSON as firmware has it: objects and lists of strings and numbers, any text in the strings.
fn any_json(text: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text.prop_map(Value::String),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let inner = leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,6}", inner, 1..5)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// The same value with what devices do to JSON; `choice` decides where.
fn damaged(value: &Value, choice: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    let blanks: [&[u8]; 6] = [b"", b" ", b"\r\n", b"/* x */", b"\t", b"// y\n"];
    let blank = |out: &mut Vec<u8>, choice: &mut dyn Iterator<Item = u8>| {
        out.extend_from_slice(blanks[usize::from(choice.next().unwrap_or(0)) % blanks.len()]);
    };
    match value {
        Value::Object(members) => {
            out.push(b'{');
            for (name, member) in members {
                blank(out, choice);
                damaged_text(name, choice, out);
                out.push(b':');
                blank(out, choice);
                damaged(member, choice, out);
                out.push(b',');
            }
            leave_comma(out, choice);
            out.push(b'}');
        }
        Value::Array(list) => {
            out.push(b'[');
            for entry in list {
                blank(out, choice);
                let may_lack_comma = matches!(entry, Value::Object(_) | Value::Array(_))
                    && matches!(out.trim_ascii_end().last(), Some(b','))
                    && matches!(out[..out.trim_ascii_end().len() - 1].last(), Some(b'}' | b']'));
                if may_lack_comma && choice.next().unwrap_or(0).is_multiple_of(3) {
                    out.truncate(out.trim_ascii_end().len() - 1);
                }
                damaged(entry, choice, out);
                out.push(b',');
            }
            leave_comma(out, choice);
            out.push(b']');
        }
        Value::String(text) => damaged_text(text, choice, out),
        Value::Bool(true) if choice.next().unwrap_or(0).is_multiple_of(2) => out.extend_from_slice(b"True"),
        Value::Null if choice.next().unwrap_or(0).is_multiple_of(2) => out.extend_from_slice(b"None"),
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
}

fn leave_comma(out: &mut Vec<u8>, choice: &mut impl Iterator<Item = u8>) {
    if out.last() == Some(&b',') && choice.next().unwrap_or(0).is_multiple_of(2) {
        out.pop();
    }
}

/// Control characters and odd backslashes as they are.
fn damaged_text(text: &str, choice: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_raw = choice.next().unwrap_or(0).is_multiple_of(2);
        match character {
            '\\' if is_raw && characters.peek().is_some_and(|next| "xG:-. ".contains(*next)) => {
                out.push(b'\\')
            }
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            '\0' => out.extend_from_slice(b"\\u0000"),
            '\u{1}'..='\u{1f}' if !is_raw => {
                out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes())
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn without_escapes(value: &Value) -> String {
    value.to_string().replace("\\\"", "\"")
}

/// Whether an entry or a member is JSON of another meaning without its escapes, wherever the rest is damaged.
fn has_imitation(value: &Value) -> bool {
    let is_other = |alone: Value| {
        serde_json::from_str::<Value>(&without_escapes(&alone)).is_ok_and(|read| read != alone)
    };
    match value {
        Value::Array(list) => list.iter().any(|entry| is_other(json!([entry])) || has_imitation(entry)),
        Value::Object(members) => {
            members.iter().any(|(name, member)| is_other(json!({ name: member })) || has_imitation(member))
        }
        _ => false,
    }
}

/// Whether `read` says nothing that `truth` does not say.
fn is_part_of(read: &Value, truth: &Value) -> bool {
    match (read, truth) {
        (Value::Null, _) => true,
        (Value::Array(read), Value::Array(truth)) => {
            // Entries behind one that cannot be read are those that are there, in their order.
            let mut truth = truth.iter();
            read.iter().all(|entry| entry.is_null() || truth.any(|true_entry| is_part_of(entry, true_entry)))
        }
        (Value::Object(read), Value::Object(truth)) => {
            read.len() == truth.len()
                && read
                    .iter()
                    .all(|(name, member)| truth.get(name).is_some_and(|told| is_part_of(member, told)))
        }
        (read, truth) => read == truth,
    }
}

proptest! {
    #[test]
    fn damage_that_leaves_the_meaning_clear_changes_nothing(
        value in any_json("[a-z \"\\\\xG:,{}\\[\\]\u{1}\n\té中😀/'#-]{0,12}"),
        choices in prop::collection::vec(any::<u8>(), 0..200),
        end in prop::sample::select(vec![&b""[..], b"\0", b"\0\0rest\"}", b" <!-- 0.1 s -->", b"\r\n", b" // ok", b";"]),
    ) {
        let strict = value.to_string();
        prop_assert_eq!(decode(strict.as_bytes()).unwrap(), value.clone());
        let mut bytes = Vec::new();
        damaged(&value, &mut choices.into_iter(), &mut bytes);
        bytes.extend_from_slice(end);
        let told = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert_eq!(decode(&bytes), Ok(value.clone()), "{}", told);
        let listed = decode_list(&bytes);
        prop_assert_eq!(listed, Ok(Decoded { value, unreadable: vec![] }), "{}", told);
    }

    #[test]
    fn quotes_that_are_not_escaped_never_give_another_value(
        value in any_json("[a-z\", :.']{0,12}"),
    ) {
        // What is JSON all the same, with another meaning, nobody can tell.
        let bytes = without_escapes(&value);
        if let Ok(other) = serde_json::from_str::<Value>(&bytes) {
            prop_assert_eq!(decode(bytes.as_bytes()), Ok(other));
            return Ok(());
        }
        prop_assert!(decode(bytes.as_bytes()).is_err(), "{}", bytes);
        if has_imitation(&value) {
            return Ok(());
        }
        if let Ok(decoded) = decode_list(bytes.as_bytes()) {
            prop_assert!(!decoded.unreadable.is_empty());
            prop_assert!(is_part_of(&decoded.value, &value), "{} as {}", bytes, decoded.value);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode_list(&bytes);
    }

    #[test]
    fn a_reply_that_breaks_off_is_never_read(value in any_json("[a-z\"\\\\é]{0,8}"), at in any::<prop::sample::Index>()) {
        let strict = value.to_string().into_bytes();
        let end = at.index(strict.len());
        prop_assert!(decode(&strict[..end]).is_err());
        prop_assert!(decode_list(&strict[..end]).is_err());
    }
}
