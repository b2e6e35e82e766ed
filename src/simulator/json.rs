//! JSON as the device reads and writes it: byte for byte, for a recording's name may be any bytes.

/// What a reply is made of.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A string.
    Text(Vec<u8>),
    /// Bytes that are printed as they are, well formed or not.
    Raw(&'static str),
    /// An object; members keep their order.
    Object(Vec<(&'static str, Value)>),
    /// An array.
    Array(Vec<Value>),
}

impl Value {
    /// A string.
    pub(super) fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }

    /// The bytes of the value: on one line, or indented by four spaces as the compatible device does.
    pub(super) fn to_bytes(&self, indented: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out, indented.then_some(0));
        out
    }

    fn write(&self, out: &mut Vec<u8>, depth: Option<usize>) {
        let inner = depth.map(|depth| depth + 1);
        match self {
            Self::Text(text) => write_text(out, text),
            Self::Raw(text) => out.extend_from_slice(text.as_bytes()),
            Self::Object(members) => {
                write_list(out, depth, b"{}", members, |out, (name, value)| {
                    write_text(out, name.as_bytes());
                    out.extend_from_slice(if depth.is_some() { b": " } else { b":" });
                    value.write(out, inner);
                });
            }
            Self::Array(items) => {
                write_list(out, depth, b"[]", items, |out, item| item.write(out, inner));
            }
        }
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    depth: Option<usize>,
    brackets: &[u8; 2],
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
) {
    out.push(brackets[0]);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        indent(out, depth.map(|depth| depth + 1));
        write(out, item);
    }
    indent(out, depth);
    out.push(brackets[1]);
}

fn indent(out: &mut Vec<u8>, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push(b'\n');
        out.resize(out.len() + depth * 4, b' ');
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// The members of a flat request body: strings and bare words (numbers, `true`) alike as bytes.
#[derive(Debug, Default)]
pub(super) struct Members(Vec<(Vec<u8>, Vec<u8>)>);

impl Members {
    /// Reads an object of strings and bare words; `None` if it is not one.
    ///
    /// `lenient` allows a comma after the last member, which the compatible device's own sample has.
    pub(super) fn parse(body: &[u8], lenient: bool) -> Option<Self> {
        let mut reader = Reader { bytes: body, at: 0 };
        let mut members = Vec::new();
        reader.expect(b'{')?;
        if reader.take(b'}') {
            return reader.is_at_end().then_some(Self(members));
        }
        loop {
            let name = reader.text()?;
            reader.expect(b':')?;
            members.push((name, reader.value()?));
            if reader.take(b',') {
                if lenient && reader.take(b'}') {
                    break;
                }
                continue;
            }
            reader.expect(b'}')?;
            break;
        }
        reader.is_at_end().then_some(Self(members))
    }

    /// The value of a member; `None` if it is absent or blank.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(known, _)| known == name.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    /// The value as text; `None` if it is absent, blank or not UTF-8.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| String::from_utf8(value.to_vec()).ok())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.take(wanted).then_some(())
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.at == self.bytes.len()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        if self.bytes.get(self.at) == Some(&b'"') {
            return self.text();
        }
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte))?;
        self.at += length;
        let word = &rest[..length];
        // `null` is a blank value.
        (length > 0).then(|| if word == b"null" { Vec::new() } else { word.to_vec() })
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(text),
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return None,
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        match self.next()? {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'u' => {
                let character = self.unicode()?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            byte @ (b'"' | b'\\' | b'/') => text.push(byte),
            _ => return None,
        }
        Some(())
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if (self.next()?, self.next()?) != (b'\\', b'u') {
            return None;
        }
        let second = self.hex4()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_byte_for_byte() {
        let body = b"{ \"a\" : \"x\\u00e9\\ud83d\\ude00\\/\xd6\xd0\", \"port\":8260, \"n\":null }";
        let members = Members::parse(body, false).unwrap();
        assert_eq!(
            members.get("a").unwrap(),
            "xé😀/".as_bytes().iter().chain(b"\xd6\xd0").copied().collect::<Vec<_>>()
        );
        assert_eq!(members.get("port"), Some(&b"8260"[..]));
        assert_eq!(members.get("n"), None);
    }

    #[test]
    fn a_comma_after_the_last_member_is_allowed_only_to_the_compatible_device() {
        assert!(Members::parse(b"{\"a\":\"b\",\n}", true).is_some());
        for body in
            [&b"{\"a\":\"b\",}"[..], b"", b"[]", b"{\"a\"}", b"{\"a\":\"b\"} x", b"{\"a\":\"b", b"<a/>"]
        {
            assert!(Members::parse(body, false).is_none(), "{body:?}");
        }
        assert!(Members::parse(b"{}", false).is_some());
    }

    #[test]
    fn a_value_is_written_on_one_line_or_indented() {
        let value = Value::Object(vec![
            ("a", Value::text("x\"\n")),
            ("b", Value::Array(vec![Value::text("1"), Value::text("2")])),
        ]);
        assert_eq!(value.to_bytes(false), br#"{"a":"x\"\u000a","b":["1","2"]}"#);
        let indented = String::from_utf8(value.to_bytes(true)).unwrap();
        assert_eq!(
            indented,
            "{\n    \"a\": \"x\\\"\\u000a\",\n    \"b\": [\n        \"1\",\n        \"2\"\n    ]\n}"
        );
    }
}
