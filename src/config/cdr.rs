//! Where the CDR of a PBX comes from: the keys of `[[pbx]]` that begin with `cdr_`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::keys::nearest;
use super::section::{Section, Wrong, quotable, wrong};
use super::{ApiVersion, Generation, value};
use crate::formats::cdr::{column_names, may_be_pin};

const PIN_HEADING: &str = "may be the heading of PIN codes, which are never stored";

/// Reads `cdr_api`.
pub(super) fn over_api(section: &Section<'_>, version: &ApiVersion) -> bool {
    let default = is_downloadable(version);
    let wanted = section.switch("cdr_api", default);
    if wanted && !default {
        let remedy = "remove the line, and give cdr_folder or `backfill --cdr`";
        section
            .reject("cdr_api", wrong(format!("the API {} cannot download the CDR", version.segment), remedy));
    }
    wanted
}

/// Whether this version can download the CDR: v1.0.x cannot (`docs/pbx-api.md` §6.1), and files serve there.
pub(super) fn is_downloadable(version: &ApiVersion) -> bool {
    version.generation != Generation::V1_0
}

/// Reads `cdr_columns`.
pub(super) fn columns(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut columns = BTreeMap::new();
    let Some(value) = section.get("cdr_columns") else { return columns };
    let Some(table) = value.get_ref().as_table() else {
        section.reject("cdr_columns", wrong("must be a table", "write such as { callid = \"Call ID\" }"));
        return columns;
    };
    for (column, heading) in table {
        let column: &str = column.get_ref();
        match heading_of(column, heading.get_ref(), &columns) {
            Ok(text) => drop(columns.insert(column.to_owned(), text.to_owned())),
            Err(wrong) => section.reject_part(&format!("cdr_columns.{}", quotable(column)), heading, wrong),
        }
    }
    columns
}

/// The heading that a call list gives to one of our columns, unless one of the `others` has it.
fn heading_of<'a>(
    column: &str,
    heading: &'a DeValue<'_>,
    others: &BTreeMap<String, String>,
) -> Result<&'a str, Wrong> {
    if !column_names().contains(&column) {
        return Err(wrong("is not a CDR column", column_remedy(column)));
    }
    let text = value::text(heading)?;
    if column != "pincode" && may_be_pin(text.as_bytes()) {
        return Err(wrong(PIN_HEADING, "map it to `pincode`, or leave it out"));
    }
    if others.values().any(|other| other == text) {
        return Err(wrong("is the heading of another column too", "give each column its own heading"));
    }
    Ok(text)
}

/// Reads `cdr_keep_columns`.
pub(super) fn keep_columns(section: &Section<'_>) -> Vec<String> {
    const KEY: &str = "cdr_keep_columns";
    let mut kept = Vec::new();
    let Some(value) = section.get(KEY) else { return kept };
    let Some(list) = value.get_ref().as_array() else {
        section.reject(KEY, wrong("must be a list of headings", "write such as [\"Department\"]"));
        return kept;
    };
    for (at, heading) in list.iter().enumerate() {
        match kept_heading(heading.get_ref()) {
            Ok(text) => kept.push(text.to_owned()),
            Err(wrong) => section.reject_part(&format!("{KEY}[{at}]"), heading, wrong),
        }
    }
    kept
}

fn kept_heading<'a>(heading: &'a DeValue<'_>) -> Result<&'a str, Wrong> {
    match value::text(heading)? {
        text if may_be_pin(text.as_bytes()) => Err(wrong(PIN_HEADING, "leave it out")),
        text if column_names().contains(&text) => {
            Err(wrong("is a column that is stored in any case", "leave it out"))
        }
        text => Ok(text),
    }
}

fn column_remedy(column: &str) -> String {
    match nearest(column, column_names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the columns are {}", column_names().join(", ")),
    }
}
