//! What is to be exported. It does no I/O, so that a table of cases can show what a choice means.

use std::path::PathBuf;

use jiff::civil::Date;

use crate::base::recording::Text;
use crate::formats::cdr::{CdrRow, parties};
use crate::store::queue::DayRange;

#[derive(Debug, Clone, Default)]
pub struct Request {
    pub choice: Choice,
    /// The folder, which must be absent or empty. With `zip`, `.zip` is appended to its name.
    pub out: PathBuf,
    /// One file instead of a folder.
    pub zip: bool,
}

impl Request {
    pub(super) fn place(&self) -> PathBuf {
        let name = self.name();
        match self.zip {
            true => self.out.with_file_name(format!("{name}.zip")),
            false => self.out.clone(),
        }
    }
}

impl Request {
    /// The name of the folder, also within a ZIP.
    pub(super) fn name(&self) -> String {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(".zip").filter(|_| self.zip) {
            Some(stem) => stem.to_owned(),
            None => name,
        }
    }
}

/// Which calls and recordings. All conditions must hold; of several values of one condition, one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pub pbx: Vec<String>,
    /// By the PBX's calendar, both ends included.
    pub from: Option<Date>,
    pub to: Option<Date>,
    /// On either side.
    pub extension: Vec<String>,
    /// On either side, or dialled from outside.
    pub number: Vec<String>,
    /// Exactly these recordings, by name or by path.
    pub list: Option<Vec<Vec<u8>>>,
    pub voicemail: bool,
}

impl Choice {
    pub(super) fn days(&self) -> DayRange {
        let all = DayRange::ALL;
        DayRange { from: self.from.unwrap_or(all.from), to: self.to.unwrap_or(all.to) }
    }

    /// Whether it depends on who talked, so that days alone do not decide.
    pub(super) fn is_of_people(&self) -> bool {
        !self.extension.is_empty() || !self.number.is_empty()
    }

    /// Whether it takes whole days of a PBX, so that the certificates of these days apply.
    pub(super) fn is_of_whole_days(&self) -> bool {
        self.list.is_none() && !self.is_of_people()
    }

    /// Whether it takes all PBXs. Recipients of less need not learn which other PBXs there are, and how many calls they have.
    pub(super) fn is_of_everybody(&self) -> bool {
        self.is_of_whole_days() && self.pbx.is_empty()
    }

    /// Whether it takes a call, as far as the parties decide.
    pub(super) fn takes_call(&self, row: &CdrRow) -> bool {
        let text = |field: &Text| field.as_str().unwrap_or_default().to_owned();
        self.takes(&text(&row.callfrom), &text(&row.callto), &text(&row.didnumber))
    }

    /// The box of a message is the party that the call was for.
    pub(super) fn takes_message(&self, caller: &str, extension: &str) -> bool {
        self.takes(caller, extension, "")
    }

    fn takes(&self, callfrom: &str, callto: &str, did: &str) -> bool {
        let sides: Vec<&str> = [callfrom, callto].into_iter().flat_map(parties).collect();
        let has_extension = |wanted: &String| sides.contains(&wanted.trim());
        let has_number = |wanted: &String| {
            let whole = [callfrom, callto, did];
            // `+49 (30) 555-0142` is one formatted number; `6200(1003)` and `Reception <1001>` are two things.
            let is_dressed = |side: &&str| !side.contains('<') && side.contains(['+', ' ', '-']);
            let parts = whole.into_iter().filter(|side| !is_dressed(side)).flat_map(parties);
            whole.into_iter().chain(parts).any(|party| is_same_number(wanted, party))
        };
        (self.extension.is_empty() || self.extension.iter().any(has_extension))
            && (self.number.is_empty() || self.number.iter().any(has_number))
    }

    /// For the bag and its readers.
    pub(super) fn in_words(&self) -> String {
        let is_all = Self { voicemail: false, ..self.clone() } == Self::default();
        let all = if is_all { "all " } else { "" };
        let mut words = vec![match (&self.list, self.voicemail) {
            (Some(list), _) => format!("what {} lines of a list name", list.len()),
            (None, true) => format!("{all}calls and voicemail"),
            (None, false) => format!("{all}calls"),
        }];
        if !self.pbx.is_empty() {
            words.push(format!("of {}", self.pbx.join(", ")));
        }
        words.extend(self.from.map(|from| format!("from {from}")));
        words.extend(self.to.map(|to| format!("to {to}")));
        for (what, values) in [("extension", &self.extension), ("number", &self.number)] {
            if !values.is_empty() {
                words.push(format!("with {what} {}", values.join(" or ")));
            }
        }
        crate::base::recording::printable(words.join(" ").as_bytes())
    }
}

/// Numbers are written in many ways, so their digits decide.
fn is_same_number(one: &str, other: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let has_letters = |text: &str| text.chars().any(char::is_alphabetic);
    let wanted = digits(one);
    !wanted.is_empty() && !has_letters(other) && wanted == digits(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn a_choice_takes_a_call_if_all_that_it_says_holds() {
        let row = CdrRow {
            callfrom: Text::Utf8("+49 (30) 555-0142".to_owned()),
            callto: Text::Utf8("6200(1003)".to_owned()),
            didnumber: Text::Utf8("5550100".to_owned()),
            ..CdrRow::default()
        };
        let cases = [
            (&[][..], &[][..], true),
            (&["1003"], &[], true),
            (&["6200"], &[], true),
            (&["1004", "1003"], &[], true),
            (&["100"], &[], false),
            (&["6200(1003)"], &[], false),
            (&[], &["49305550142"], true),
            (&[], &["+49 30 5550142"], true),
            (&[], &["5550142"], false),
            (&[], &["5550100"], true),
            (&[], &[""], false),
            (&["1003"], &["5550100"], true),
            (&["1004"], &["5550100"], false),
        ];
        for (extension, number, taken) in cases {
            let choice = Choice { extension: list(extension), number: list(number), ..Choice::default() };
            assert_eq!(choice.takes_call(&row), taken, "{choice:?}");
        }
    }

    #[test]
    fn a_message_is_taken_by_its_box_and_its_caller() {
        let choice = |extension: &[&str], number: &[&str]| Choice {
            extension: list(extension),
            number: list(number),
            ..Choice::default()
        };
        assert!(choice(&["1003"], &[]).takes_message("5550142", "1003"));
        assert!(choice(&[], &["555 0142"]).takes_message("5550142", "1003"));
        assert!(!choice(&["1004"], &[]).takes_message("5550142", "1003"));
    }

    #[test]
    fn a_choice_says_itself_in_words() {
        let choice = Choice {
            pbx: list(&["hq"]),
            from: Some("2026-01-02".parse().unwrap()),
            to: Some("2026-01-03".parse().unwrap()),
            number: list(&["1", "2\n3"]),
            voicemail: true,
            ..Choice::default()
        };
        assert_eq!(
            choice.in_words(),
            "calls and voicemail of hq from 2026-01-02 to 2026-01-03 with number 1 or 2\\u{a}3"
        );
        assert_eq!(Choice { voicemail: true, ..Choice::default() }.in_words(), "all calls and voicemail");
    }
}
