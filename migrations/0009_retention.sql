-- What a PBX delivered and what it did not have any more, by age: it tells for how long it keeps recordings.
create table retention_evidence (
    pbx text not null references pbx (id),
    -- The day (UTC) on which it was learnt: what a PBX kept long ago says little of what it keeps now.
    seen_on text not null,
    -- How old the recordings were then, in whole days.
    age_days integer not null check (age_days >= 0),
    delivered integer not null default 0,
    missing integer not null default 0,
    primary key (pbx, seen_on, age_days)
) strict, without rowid;

-- The oldest that is owed, and how many are older than a time, without a look at each of a million.
create index recordings_owed on recordings (pbx, kind, started_at_ms, state) where state in ('pending', 'stuck');
