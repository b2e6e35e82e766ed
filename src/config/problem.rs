//! What is wrong with a configuration, in the operator's words.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One thing wrong with the configuration. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The path of the configuration file, as text: JSON has no other paths.
    pub file: String,
    /// Where in the file; nothing if the file as a whole is meant.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// The key with its section, such as `pbx.concurrency`; nothing if no single key is meant.
    pub key: Option<String>,
    /// The value as it stands in the file; nothing if it is missing or may be a secret.
    pub value: Option<String>,
    pub message: String,
    pub remedy: String,
}

/// A place in the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
}

impl Position {
    /// The position of the byte at `offset` in `text`.
    pub(super) fn of(offset: usize, text: &str) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let is_first_of_char = |byte: &&u8| **byte & 0xC0 != 0x80;
        Self {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before[line_start..].iter().filter(is_first_of_char).count() + 1,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, " {key} = {value}:")?,
            (Some(key), None) => write!(f, " {key}:")?,
            (None, _) => {}
        }
        write!(f, " {}; {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    /// Whether the syntax kept the keys from being looked at.
    incomplete: bool,
}

impl ConfigErrors {
    /// All that is wrong with the keys of a file.
    pub fn of(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.position);
        Self { problems, incomplete: false }
    }

    /// The mistakes in syntax that keep the rest from being looked at.
    pub(super) fn of_syntax(problems: Vec<Problem>) -> Self {
        Self { incomplete: true, ..Self::of(problems) }
    }

    /// One sentence about the file as a whole.
    pub(super) fn of_file(file: &Path, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let problem = Problem {
            file: file.display().to_string(),
            position: None,
            key: None,
            value: None,
            message: message.into(),
            remedy: remedy.into(),
        };
        Self::of(vec![problem])
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    /// One line for each problem, then their number; one sentence if the file as a whole is meant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [whole @ Problem { position: None, .. }] = self.problems.as_slice() {
            return whole.fmt(f);
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem")?,
            count => write!(f, "{count} problems")?,
        }
        if self.incomplete {
            write!(f, "; the rest can be checked when the file is valid TOML")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let text = "a\r\nbé = 1\n";
        assert_eq!(Position::of(0, text), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text.find('1').expect("it is there"), text), Position { line: 2, column: 6 });
        assert_eq!(Position::of(999, text), Position { line: 3, column: 1 });
    }
}
