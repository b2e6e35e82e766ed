//! Where the CDR of a PBX comes from: the keys of `[[pbx]]` that begin with `cdr_`.

use std::collections::BTreeMap;

use super::keys::nearest;
use super::section::{Section, quotable, wrong};
use super::{ApiVersion, Generation, value};
use crate::formats::cdr::{COLUMNS, may_be_pin};

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
        let key = format!("cdr_columns.{}", quotable(column.get_ref()));
        if !COLUMNS.contains(&column.get_ref().as_ref()) {
            section.reject_part(&key, heading, wrong("is not a CDR column", column_remedy(column.get_ref())));
            continue;
        }
        match value::text(heading.get_ref()) {
            Err(wrong) => section.reject_part(&key, heading, wrong),
            Ok(text) if column.get_ref() != "pincode" && may_be_pin(text.as_bytes()) => {
                let remedy = "map it to `pincode`, or leave it out";
                section.reject_part(
                    &key,
                    heading,
                    wrong("may be the heading of PIN codes, which are never stored", remedy),
                );
            }
            Ok(text) if columns.values().any(|other| other == text) => {
                let message = "is the heading of another column too";
                section.reject_part(&key, heading, wrong(message, "give each column its own heading"));
            }
            Ok(text) => {
                columns.insert(column.get_ref().to_string(), text.to_owned());
            }
        }
    }
    columns
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
        let key = format!("{KEY}[{at}]");
        match value::text(heading.get_ref()) {
            Err(wrong) => section.reject_part(&key, heading, wrong),
            Ok(text) if may_be_pin(text.as_bytes()) => {
                let message = "may be the heading of PIN codes, which are never stored";
                section.reject_part(&key, heading, wrong(message, "leave it out"));
            }
            Ok(text) if COLUMNS.contains(&text) => {
                section.reject_part(
                    &key,
                    heading,
                    wrong("is a column that is stored in any case", "leave it out"),
                );
            }
            Ok(text) => kept.push(text.to_owned()),
        }
    }
    kept
}

fn column_remedy(column: &str) -> String {
    match nearest(column, COLUMNS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the columns are {}", COLUMNS.join(", ")),
    }
}
