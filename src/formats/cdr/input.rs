//! From the bytes of an input to bytes in which ASCII is ASCII: what no call list can be is named, UTF-16 becomes UTF-8.

use encoding_rs::{Decoder, Encoding, UTF_16BE, UTF_16LE};

use super::container::{Container, LOOK_BYTES};

/// The beginning of an input until it is known what it is, and the way of the rest.
pub(super) struct Input {
    state: State,
}

enum State {
    /// Bytes that were not enough to tell.
    Looking(Vec<u8>),
    Plain,
    /// UTF-16, transcoded.
    Wide(Box<Decoder>),
    Refused,
}

pub(super) enum Output {
    /// Bytes to read.
    Bytes(Vec<u8>),
    /// It is no call list but this.
    Container(Container),
}

impl Input {
    pub(super) fn new() -> Self {
        Self { state: State::Looking(Vec::new()) }
    }

    /// The name of its encoding, where that was told for certain.
    pub(super) fn encoding(&self) -> Option<&'static str> {
        match &self.state {
            State::Wide(decoder) => Some(decoder.encoding().name()),
            _ => None,
        }
    }

    /// Takes more of the input, or its end.
    pub(super) fn push(&mut self, bytes: &[u8], is_end: bool) -> Output {
        let held = match &mut self.state {
            State::Looking(held) => {
                held.extend_from_slice(bytes);
                if held.len() < LOOK_BYTES && !is_end {
                    return Output::Bytes(Vec::new());
                }
                std::mem::take(held)
            }
            State::Plain => return Output::Bytes(bytes.to_vec()),
            State::Wide(decoder) => return Output::Bytes(narrow(decoder, bytes, is_end)),
            State::Refused => return Output::Bytes(Vec::new()),
        };
        let head = &held[..held.len().min(LOOK_BYTES)];
        let wide = if Container::of(head).is_some() { None } else { wide_encoding(head) };
        let container = match wide {
            Some(encoding) => Container::of_text(&encoding.decode(head).0),
            None => Container::of(head),
        };
        if let Some(container) = container {
            self.state = State::Refused;
            return Output::Container(container);
        }
        let Some(encoding) = wide else {
            self.state = State::Plain;
            return Output::Bytes(held);
        };
        let mut decoder = Box::new(encoding.new_decoder_with_bom_removal());
        let bytes = narrow(&mut decoder, &held, is_end);
        self.state = State::Wide(decoder);
        Output::Bytes(bytes)
    }
}

/// UTF-16 of either order: by its mark, or by the zeros in one half of its code units.
fn wide_encoding(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [0xff, 0xfe, ..] => return Some(UTF_16LE),
        [0xfe, 0xff, ..] => return Some(UTF_16BE),
        _ => {}
    }
    let units = head.len() / 2;
    let zeros =
        |half: usize| head[..units * 2].iter().skip(half).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    // Commas and digits are ASCII in any language: each has a zero, and always in the same half.
    let is_wide = |here: usize, there: usize| units >= 4 && here * 10 >= units * 3 && there * 20 <= units;
    let encoding = if is_wide(odd, even) { UTF_16LE } else { UTF_16BE };
    let is_text =
        || encoding.decode_without_bom_handling_and_without_replacement(&head[..units * 2]).is_some();
    ((is_wide(odd, even) || is_wide(even, odd)) && is_text()).then_some(encoding)
}

/// Transcodes to UTF-8. What is no UTF-16 becomes U+FFFD.
fn narrow(decoder: &mut Decoder, bytes: &[u8], is_end: bool) -> Vec<u8> {
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()));
    let mut at = 0;
    loop {
        let (result, read, _) = decoder.decode_to_string(&bytes[at..], &mut text, is_end);
        at += read;
        match result {
            encoding_rs::CoderResult::InputEmpty => return text.into_bytes(),
            encoding_rs::CoderResult::OutputFull => text.reserve(64 + 3 * (bytes.len() - at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut input = Input::new();
        let mut all = Vec::new();
        let outputs = bytes.chunks(step.max(1)).map(|chunk| (chunk, false)).chain([(&[][..], true)]);
        for (chunk, is_end) in outputs {
            match input.push(chunk, is_end) {
                Output::Bytes(bytes) => all.extend(bytes),
                Output::Container(container) => panic!("{container:?}"),
            }
        }
        all
    }

    #[test]
    fn utf_16_of_either_order_becomes_utf_8_with_and_without_its_mark() {
        let text = "callid,recording,姓名\r\n1709287502.1,a.wav,张三\r\n".repeat(60);
        let wide = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for (mark, bytes) in
            [(&b"\xff\xfe"[..], wide(u16::to_le_bytes)), (&b"\xfe\xff"[..], wide(u16::to_be_bytes))]
        {
            for step in [1, 7, 100_000] {
                assert_eq!(read(&bytes, step), text.as_bytes());
                assert_eq!(read(&[mark, &bytes].concat(), step), text.as_bytes());
            }
        }
        for plain in
            [&b"callid,recording\n\0\0\0\0"[..], b"", b"a", b"\0\0\0\0\0\0\0\0", "callid,录音\n".as_bytes()]
        {
            assert_eq!(read(plain, 1), plain);
        }
    }
}
