//! A row of the PBX as it is kept for good: in its order, without loss, without secrets.

mod decode;
mod pin;

pub use decode::readings;
pub use pin::may_be_pin;

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::digest::unhex;
use crate::base::recording::Text;

/// The cells of a row in the PBX's order, by heading. Cells that may hold a PIN code are always empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRow(Vec<(String, Text)>);

impl RawRow {
    /// Keeps the cells as they are, except those that may hold a PIN code, a secret: they are blanked.
    pub fn new(cells: impl IntoIterator<Item = (String, Text)>) -> Self {
        let blank = |(heading, cell): (String, Text)| match is_secret(&heading) {
            true => (heading, Text::Utf8(String::new())),
            false => (heading, cell),
        };
        Self(cells.into_iter().map(blank).collect())
    }

    pub fn cells(&self) -> &[(String, Text)] {
        &self.0
    }

    /// The first cell under `heading`.
    pub fn cell(&self, heading: &str) -> Option<&Text> {
        self.0.iter().find(|(name, _)| name == heading).map(|(_, cell)| cell)
    }
}

/// Whether a cell under this heading may hold a PIN code. A heading that is not UTF-8 stands in hex.
fn is_secret(heading: &str) -> bool {
    match heading.strip_prefix("hex:").and_then(unhex) {
        Some(bytes) => may_be_pin(&bytes),
        None => may_be_pin(heading.as_bytes()),
    }
}

impl Serialize for RawRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (heading, cell) in &self.0 {
            map.serialize_entry(heading, cell)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = RawRow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of cells")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRow, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(RawRow::new(cells))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pincode_is_never_kept_whoever_writes_it() {
        let row = RawRow::new([(" PinCode ".to_owned(), Text::Utf8("4711".to_owned()))]);
        assert!(row.cells()[0].1.is_empty());
        let planted: RawRow = serde_json::from_str(r#"{"pincode": "4711"}"#).unwrap();
        assert_eq!(planted.cell("pincode"), Some(&Text::Utf8(String::new())));
        // What version 0.1 kept under a heading that it did not know goes no further.
        let old: RawRow =
            serde_json::from_str(r#"{"Code PIN": "4711", "hex:50494ec2eb": "4711", "Note": "x"}"#).unwrap();
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"Code PIN":"","hex:50494ec2eb":"","Note":"x"}"#);
    }

    #[test]
    fn cells_stay_in_their_order() {
        let json = r#"{"z":"1","a":{"hex":"ff"},"m":""}"#;
        let row: RawRow = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
    }
}
