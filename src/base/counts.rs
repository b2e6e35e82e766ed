//! Recordings counted by what became of them.

use serde::{Deserialize, Serialize, Serializer};

use super::recording::RecordingState;

/// Recordings by state. Serialized, it shows the five states; [`with_final`], [`of_run`] and [`of_messages`] show more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub archived: i64,
    /// Archived before the run that reports; none of them is in `archived`. 0 where nothing is said of a run.
    #[serde(skip_serializing, default)]
    pub already_archived: i64,
    /// The PBX says that it does not have them.
    pub missing: i64,
    /// Of the missing ones, those that are no longer asked for.
    #[serde(skip_serializing, default)]
    pub missing_final: i64,
    pub excluded: i64,
    pub pending: i64,
    pub stuck: i64,
    /// Bytes of archived audio.
    #[serde(skip_serializing, default)]
    pub bytes: u64,
}

impl Counts {
    pub fn listed(&self) -> i64 {
        let states = [self.archived, self.missing, self.excluded, self.pending, self.stuck];
        states.into_iter().fold(self.already_archived, i64::saturating_add)
    }

    /// Those that should be archived and are not.
    pub fn owed(&self) -> i64 {
        self.missing + self.pending + self.stuck
    }

    /// Those that are still asked for.
    pub fn awaited(&self) -> i64 {
        self.owed() - self.missing_final
    }

    /// Counts `count` more in this state, `finals` of them for good.
    pub fn count(&mut self, state: RecordingState, count: i64, finals: i64) {
        match state {
            RecordingState::Archived => self.archived += count,
            RecordingState::Missing => {
                self.missing += count;
                self.missing_final += finals;
            }
            RecordingState::Excluded => self.excluded += count,
            RecordingState::Pending => self.pending += count,
            RecordingState::Stuck => self.stuck += count,
        }
    }

    /// The same as a run reports it that began when these were `archived_before`.
    #[must_use]
    pub fn since(self, archived_before: i64) -> Self {
        Self { archived: self.archived - archived_before, already_archived: archived_before, ..self }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { archived, already_archived, missing, missing_final, excluded, pending, stuck, bytes } =
            other;
        self.archived += archived;
        self.already_archived += already_archived;
        self.missing += missing;
        self.missing_final += missing_final;
        self.excluded += excluded;
        self.pending += pending;
        self.stuck += stuck;
        self.bytes += bytes;
    }
}

/// Shows how many of the missing ones are final.
pub fn with_final<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map([
        ("archived", counts.archived),
        ("missing", counts.missing),
        ("missing_final", counts.missing_final),
        ("excluded", counts.excluded),
        ("pending", counts.pending),
        ("stuck", counts.stuck),
    ])
}

/// Shows what a run came to.
pub fn of_run<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    of("listed", counts, to)
}

/// The same of voicemail.
pub fn of_messages<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    of("known", counts, to)
}

fn of<S: Serializer>(sum: &'static str, counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map([
        (sum, counts.listed()),
        ("archived", counts.archived),
        ("already_archived", counts.already_archived),
        ("missing", counts.missing),
        ("excluded", counts.excluded),
        ("pending", counts.pending),
        ("stuck", counts.stuck),
        ("bytes", i64::try_from(counts.bytes).unwrap_or(i64::MAX)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Shown {
        states: Counts,
        #[serde(serialize_with = "with_final")]
        with_final: Counts,
        #[serde(flatten, serialize_with = "of_run")]
        run: Counts,
    }

    #[test]
    fn each_view_shows_its_members_in_their_order() {
        let mut counts = Counts { bytes: 9, ..Counts::default() };
        for (count, state) in (1..).zip(RecordingState::ALL) {
            counts.count(*state, count, 1);
        }
        assert_eq!((counts.listed(), counts.owed(), counts.awaited()), (15, 9, 8));
        let json = serde_json::to_string(&Shown { states: counts, with_final: counts, run: counts.since(1) });
        assert_eq!(
            json.unwrap(),
            r#"{"states":{"archived":2,"missing":3,"excluded":4,"pending":1,"stuck":5},"#.to_owned()
                + r#""with_final":{"archived":2,"missing":3,"missing_final":1,"excluded":4,"pending":1,"stuck":5},"#
                + r#""listed":15,"archived":1,"already_archived":1,"missing":3,"excluded":4,"pending":1,"stuck":5,"#
                + r#""bytes":9}"#
        );
    }
}
