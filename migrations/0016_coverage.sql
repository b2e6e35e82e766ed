-- Coverage: answered calls without a recording, by day.

-- The index that counted them by PBX, with the day: it has the same entries, some fifteen bytes longer each, and is written
-- when it was written before. It lets a look at the latest days step over the years before them. The last two columns are
-- the same in all entries; without them SQLite looks up each row to ask.
create index calls_unrecorded_of_day on calls (pbx, day, answered, recording_id)
    where answered = 1 and recording_id is null;
drop index calls_unrecorded;
