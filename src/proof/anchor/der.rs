//! As much of DER (X.690) as a time-stamp reply needs: values one after the other, of definite and minimal length.

/// Tags that occur.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, primitive.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

/// What is left to read of a run of values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value if it has this tag: its content. Nothing is read otherwise.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&first, rest) = self.0.split_first()?;
        let (content, rest) = split_by_length(rest)?;
        if first != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }

    /// The next value if it has this tag, with its tag and its length.
    pub(super) fn take_whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.take(tag)?;
        Some(&before[..before.len() - self.0.len()])
    }

    /// The next value, whatever it is, with its tag and its length.
    pub(super) fn take_any(&mut self) -> Option<&'a [u8]> {
        self.take_whole(*self.0.first()?)
    }

    /// The content of the next value if it has this tag, to be read on.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }
}

/// Parts what the length at the beginning covers from what follows it.
fn split_by_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // 0x80 is BER's indefinite length; nothing here needs more than three length bytes.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit));
            let is_minimal = digits[0] != 0 && length >= 0x80;
            is_minimal.then_some((length, rest))?
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_one_after_the_other() {
        let mut long = vec![OCTET_STRING, 0x81, 0x80];
        long.extend([7; 0x80]);
        let bytes = [&[SEQUENCE, 3, INTEGER, 1, 5][..], &long].concat();
        let mut der = Der::new(&bytes);
        assert_eq!(der.take(INTEGER), None, "and nothing was read");
        let mut inner = der.enter(SEQUENCE).unwrap();
        assert_eq!((inner.take(INTEGER), inner.is_empty()), (Some(&[5][..]), true));
        assert_eq!(der.clone().take(OCTET_STRING).unwrap(), [7; 0x80]);
        assert_eq!(der.clone().take_any().unwrap(), long);
        assert_eq!(der.take_whole(OCTET_STRING).unwrap(), long);
        assert!(der.is_empty());
    }

    #[test]
    fn lengths_that_der_forbids_are_refused() {
        for bytes in [
            &[OCTET_STRING, 0x80, 0, 0][..],
            &[OCTET_STRING, 0x81, 0x01, 9],
            &[OCTET_STRING, 0x82, 0x00, 0x80],
            &[OCTET_STRING, 0x84, 0, 0, 0, 1, 9],
            &[OCTET_STRING, 0xff],
            &[OCTET_STRING, 2, 9],
            &[OCTET_STRING],
            &[],
        ] {
            assert_eq!(Der::new(bytes).take(OCTET_STRING), None, "{bytes:?}");
        }
    }
}
