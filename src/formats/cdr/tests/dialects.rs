//! Separators, quotes, titles and encodings: the same rows, however they are written.

use encoding_rs::Encoding;

use super::*;

fn versions(items: &[CdrItem]) -> Vec<crate::base::digest::Digest> {
    rows(items).iter().map(|row| row.version()).collect()
}

#[test]
fn separators_titles_and_marks_of_every_kind_give_the_same_rows() {
    let two = [call(1), call(2)];
    let plain = format!("{HEADER}\n{}\n{}\n", two[0], two[1]);
    let wanted = versions(&read(&plain));
    let each =
        |change: &dyn Fn(&str) -> String| plain.lines().map(|line| change(line) + "\n").collect::<String>();
    let quoted = |line: &str, between: &str| format!("\"{}\"", line.replace(',', &format!("\"{between}\"")));
    let files = [
        each(&|line| line.replace(',', ";")),
        each(&|line| line.replace(',', "\t")),
        each(&|line| line.replace(',', "|")),
        each(&|line| quoted(line, ";")),
        each(&|line| quoted(line, ", ")),
        each(&|line| quoted(line, " , ")),
        each(&|line| format!("'{}'", line.replace(',', "','"))),
        each(&|line| format!("\"{line}\"")),
        format!("sep=,\r\n{plain}"),
        format!("\"sep=;\"\r\n{}", plain.replace(',', ";")),
        format!("sep=\t\r\n{}", plain.replace(',', "\t")),
        format!("Call Detail Record\nFrom 2024-03-01 to 2024-03-01\n\n{plain}"),
        format!("Call Detail Record;;;\n;;;\n{}", plain.replace(',', ";")),
        format!("{plain}\x1a"),
        format!("{}\x1a", plain.trim_end()),
        format!("{plain}\x1a\x1a\x1a\n"),
        format!("\u{feff}sep=;\n\u{feff}{}", plain.replace(',', ";")),
    ];
    for file in files {
        let items = read(&file);
        assert_eq!(versions(&items), wanted, "{file:?}: {items:?}");
        assert!(bad(&items).is_empty(), "{file:?}: {items:?}");
        assert!(rows(&items).iter().all(|row| row.doubt.is_none()), "{file:?}");
    }
}

#[test]
fn a_quote_after_a_blank_is_part_of_a_name_where_the_header_has_none() {
    let file =
        format!("{HEADER}\n{}\n{}\n", CALL.replace("5550142,6200", " \"Doe\" <5550142>, 19\" rack"), call(2));
    let items = read(file);
    assert_eq!(rows(&items).len(), 2, "{items:?}");
    assert_eq!(rows(&items)[0].callfrom.as_str(), Some("\"Doe\" <5550142>"));
}

#[test]
fn a_title_of_many_lines_is_passed_over_and_one_of_too_many_is_not() {
    let title = |lines: usize| "Report\n".repeat(lines) + HEADER + "\n" + CALL + "\n";
    assert_eq!(rows(&read(title(31))).len(), 1);
    assert!(read_with(title(32), &[]).is_err());
}

#[test]
fn text_in_any_encoding_is_read_and_identity_stays_over_the_bytes() {
    let header = HEADER.replace("recording", "录音文件").replace("pincode", "密码");
    let row = CALL.replace("siptrunk1", "中继一");
    let map = [("recording", "录音文件")];
    for encoding in [encoding_rs::GB18030, encoding_rs::BIG5, encoding_rs::UTF_8] {
        let (header, row, map) = match encoding.name() {
            "Big5" => (
                header.replace("录音文件", "錄音檔").replace("密码", "密碼"),
                row.replace("中继一", "中繼一"),
                [("recording", "錄音檔")],
            ),
            _ => (header.clone(), row.clone(), map),
        };
        let text = format!("{header}\n{row}\n");
        let (bytes, _, lost) = encoding.encode(&text);
        assert!(!lost);
        let items = read_with(bytes, &map).unwrap();
        let [row] = rows(&items)[..] else { panic!("{items:?}") };
        let trunk = if encoding.name() == "Big5" { "中繼一" } else { "中继一" };
        assert_eq!(row.srctrunkname, Text::from_bytes(&encoding.encode(trunk).0));
        assert!(row.recording.is_some() && !format!("{row:?}").contains("4711"), "{row:?}");
        assert!(readings(&row.srctrunkname.to_bytes().unwrap()).any(|text| text == trunk));
    }
    let wide = |order: fn(u16) -> [u8; 2]| {
        format!("{header}\n{row}\n").encode_utf16().flat_map(order).collect::<Vec<u8>>()
    };
    for (bytes, name) in [(wide(u16::to_le_bytes), "UTF-16LE"), (wide(u16::to_be_bytes), "UTF-16BE")] {
        let columns = map.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect();
        let mut reader = CdrReader::new(&columns);
        reader.push(&bytes);
        reader.finish();
        let Ok(Some(CdrItem::Row(row))) = reader.next_item() else { panic!("{name}") };
        assert_eq!(row.srctrunkname.as_str(), Some("中继一"));
        assert_eq!(reader.understood().unwrap().encoding, name);
    }
}

#[test]
fn headings_in_other_encodings_are_shown_as_people_read_them() {
    for (heading, encoding) in [
        ("录音文件名称和其他说明", encoding_rs::GBK),
        ("Запись разговора", encoding_rs::WINDOWS_1251),
        ("録音ファイルの名前", encoding_rs::SHIFT_JIS),
    ] {
        let (bytes, ..) = encoding.encode(heading);
        let file = [
            HEADER
                .replace("recording", "")
                .as_bytes()
                .split(|byte| *byte == b',')
                .collect::<Vec<_>>()
                .join(&b','),
            Vec::new(),
        ];
        let header = file[0].clone();
        let header = [&header[..], b",", &bytes, b"\n"].concat();
        let error = no_header(header).to_string();
        assert!(error.contains(heading), "{}: {error}", encoding.name());
    }
}

/// How a table is written.
#[derive(Debug, Clone)]
struct Written {
    delimiter: char,
    eol: &'static str,
    quotes: bool,
    blanks: bool,
    titles: usize,
    bom: bool,
    encoding: &'static Encoding,
    wide: Option<bool>,
}

impl Written {
    fn write(&self, table: &[Vec<String>]) -> Vec<u8> {
        let must =
            |cell: &str| cell.contains(['"', '\'', '\r', '\n', self.delimiter]) || cell.starts_with(' ');
        let cell = |cell: &String| match self.quotes || must(cell) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let between = if self.blanks && self.quotes {
            format!("{} ", self.delimiter)
        } else {
            self.delimiter.to_string()
        };
        let mut text = if self.bom { "\u{feff}".to_owned() } else { String::new() };
        text += &format!("Calls{}", self.eol).repeat(self.titles);
        for row in table {
            text += &row.iter().map(cell).collect::<Vec<_>>().join(&between);
            text += self.eol;
        }
        match self.wide {
            Some(true) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Some(false) => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            None if self.bom => text.into_bytes(),
            None => self.encoding.encode(&text).0.into_owned(),
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let delimiter = prop::sample::select(vec![',', ';', '\t', '|']);
    let eol = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let encoding = prop::sample::select(vec![
        encoding_rs::UTF_8,
        encoding_rs::GB18030,
        encoding_rs::WINDOWS_1251,
        encoding_rs::WINDOWS_1252,
        encoding_rs::SHIFT_JIS,
    ]);
    let wide = prop::sample::select(vec![None, None, Some(true), Some(false)]);
    (delimiter, eol, any::<bool>(), any::<bool>(), 0..4usize, any::<bool>(), encoding, wide).prop_map(
        |(delimiter, eol, quotes, blanks, titles, bom, encoding, wide)| Written {
            delimiter,
            eol,
            quotes,
            blanks,
            titles,
            bom,
            encoding,
            wide,
        },
    )
}

fn a_call() -> impl Strategy<Value = Vec<String>> {
    let party = "[0-9]{3,9}|[A-Za-z,; |]{1,12}<[0-9]{4}>";
    (
        0..400_000_000i64,
        party,
        party,
        0..9000u32,
        0..9000u32,
        "[a-z0-9 ,;|]{0,9}",
        "[a-zA-Z0-9]{4,9}",
        any::<bool>(),
    )
        .prop_map(|(second, from, to, ring, talk, trunk, pin, recorded)| {
            let epoch = 1_500_000_000 + second;
            let at = jiff::Timestamp::from_second(epoch).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let name = format!("{}-{epoch}.7-a-b-Inbound.wav", at.strftime("%Y%m%d%H%M%S"));
            vec![
                format!("{epoch}.7"),
                at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                from.trim().to_owned(),
                to.trim().to_owned(),
                (ring + talk).to_string(),
                talk.to_string(),
                trunk.trim().to_owned(),
                String::new(),
                "ANSWERED".to_owned(),
                "Inbound".to_owned(),
                pin,
                if recorded { name } else { String::new() },
                "5550100".to_owned(),
                "369392500001".to_owned(),
            ]
        })
}

proptest! {
    #[test]
    fn any_table_in_any_dialect_and_encoding_gives_the_same_rows(
        written in written(),
        calls in proptest::collection::vec(a_call(), 1..5),
        step in 1..3000usize,
    ) {
        let header: Vec<String> = HEADER.split(',').map(str::to_owned).collect();
        let table: Vec<Vec<String>> = std::iter::once(header).chain(calls.iter().cloned()).collect();
        let mut plain = csv::Writer::from_writer(Vec::new());
        table.iter().for_each(|row| plain.write_record(row).unwrap());
        let wanted = read(plain.into_inner().unwrap());
        prop_assert_eq!(rows(&wanted).len(), calls.len());
        prop_assert!(rows(&wanted).iter().all(|row| row.doubt.is_none()), "{:?}", wanted);

        let bytes = written.write(&table);
        let mut reader = CdrReader::new(&BTreeMap::new());
        let mut items = Vec::new();
        for chunk in bytes.chunks(step) {
            reader.push(chunk);
            items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        }
        reader.finish();
        items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        let told = |items: &[CdrItem]| rows(items).iter().map(|row| (row.version(), row.raw_json())).collect::<Vec<_>>();
        prop_assert_eq!(told(&items), told(&wanted), "{:?}", written);
        prop_assert!(bad(&items).is_empty());
    }
}
