//! Call lists and their entries in the ledger.

use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::{Folder, day_file_name};
use crate::formats::ledger_entry::ListEntry;
use crate::formats::salted::Lines;
use crate::store::ledger::{self, ListFacts};
use crate::store::scratch::{self, UnnamedList};

impl Rebuild<'_> {
    /// Finds the list of an entry: under its number, or as an edition without some lines under a later one.
    pub(super) async fn take_list_entry(&mut self, number: i64, entry: &ListEntry) -> anyhow::Result<()> {
        if scratch::match_list(self.building.tx(), number, entry).await? {
            return Ok(());
        }
        let path = format!("{}/{}", Folder::day(&entry.pbx, entry.day)?, day_file_name(entry.n));
        // `SHA256SUMS` usually lists it too.
        if self.report.damage.iter().any(|damage| damage.subject == path) {
            return Ok(());
        }
        let problem = format!(
            "{} names this call list, but the file is missing or different: restore it from a backup",
            entry_name(number)
        );
        self.damaged(Damage::of(&entry.pbx, path, problem));
        Ok(())
    }

    /// Appends an entry for each salted list without one: the tail that was not published yet, or what a restored
    /// older database wrote.
    pub(super) async fn name_lists_without_an_entry(&mut self) -> anyhow::Result<()> {
        for list in scratch::unnamed_lists(self.building.tx()).await? {
            let UnnamedList { pbx, day, n, sha256, lines, root } = &list;
            let lines = Lines { count: u64::try_from(*lines)?, erased: 0, root: *root };
            let facts = ListFacts { pbx, day: day.parse()?, number: *n, sha256: *sha256, lines };
            // A list has no tag that shows who wrote it.
            let entry = ledger::list(&facts, self.now).with("found", 1);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
            self.building.wrote().await?;
        }
        Ok(())
    }
}
