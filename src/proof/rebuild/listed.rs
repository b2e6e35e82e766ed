//! Call lists and the entries that tell what their lines come to.

use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::{Folder, day_file_name};
use crate::formats::ledger_entry::ListEntry;
use crate::formats::salted::Lines;
use crate::store::ledger::{self, ListFacts};
use crate::store::scratch::{self, UnnamedList};

impl Rebuild<'_> {
    /// Finds the list that an entry tells of: under its number, or as an edition without some lines under a later one.
    pub(super) async fn take_list_entry(&mut self, number: i64, entry: &ListEntry) -> anyhow::Result<()> {
        if scratch::match_list(self.building.tx(), number, entry).await? {
            return Ok(());
        }
        let path = format!("{}/{}", Folder::day(&entry.pbx, entry.day)?, day_file_name(entry.n));
        // `SHA256SUMS` tells it too, most of the time.
        if self.report.damage.iter().any(|damage| damage.subject == path) {
            return Ok(());
        }
        let problem = format!(
            "{} tells of this call list, and it is not there as it was written: restore it from a backup",
            entry_name(number)
        );
        self.damaged(Damage::of(&entry.pbx, path, problem));
        Ok(())
    }

    /// Appends an entry for each salted list of which none tells: the tail that was not published yet, or what a restored
    /// older database wrote.
    pub(super) async fn name_lists_without_an_entry(&mut self) -> anyhow::Result<()> {
        for list in scratch::unnamed_lists(self.building.tx()).await? {
            let UnnamedList { pbx, day, n, sha256, lines, root } = &list;
            let lines = Lines { count: u64::try_from(*lines)?, erased: 0, root: *root };
            let facts = ListFacts { pbx, day: day.parse()?, number: *n, sha256: *sha256, lines };
            // A list bears no tag: nobody can tell who wrote it.
            let entry = ledger::list(&facts, self.now).with("found", 1);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
            self.building.wrote().await?;
        }
        Ok(())
    }
}
