-- Calls are looked up day by day, and what is counted often is counted as it changes.

-- The key of a call begins with a day, so that the rows of one list lie together: a hash alone scatters them over the whole
-- index, and each row costs a page. The day is part of what never changes about a call: the date of its start by the PBX's
-- clock as its row tells it, else that of its id in UTC, in days since 1970. `day` may differ: it also follows from what is
-- learnt of the PBX.
create table keyed_calls (
    id integer primary key,
    pbx text not null references pbx (id),
    -- 0: its row tells none. -1: it was stored before this was noted.
    identity_day integer not null default -1,
    -- SHA-256 over the columns that do not change; durations and status are versions of it.
    identity blob not null,
    version blob not null,
    day text not null,
    started_at_ms integer,
    utc_offset_s integer not null,
    offset_source text not null,
    zone_offset_s integer,
    talk_s integer,
    answered integer not null check (answered in (0, 1)),
    -- The current version of the row as JSON, pincode blanked.
    row text not null,
    recording_id integer references recordings (id),
    first_seen_at_ms integer not null,
    -- The version that the latest of the day's calls-<n>.jsonl tells.
    told_version blob,
    -- Whether the PBX's latest whole answer about its day lacked it.
    absent integer not null default 0 check (absent in (0, 1)),
    unique (pbx, identity_day, identity)
) strict;

-- The indexes come before the rows: one that is made of a million rows at once is sorted in memory.
drop index calls_of_day;
drop index calls_of_recording;
drop index calls_untold;
drop index calls_unrecorded_of_day;
create index calls_of_day on keyed_calls (pbx, day);
create index calls_of_recording on keyed_calls (recording_id) where recording_id is not null;
create index calls_untold on keyed_calls (pbx, day) where told_version is not version;
-- The last two columns are the same in all entries; without them SQLite looks up each row to ask.
create index calls_unrecorded_of_day on keyed_calls (pbx, day, answered, recording_id)
    where answered = 1 and recording_id is null;

insert into keyed_calls (id, pbx, identity, version, day, started_at_ms, utc_offset_s, offset_source, zone_offset_s, talk_s,
    answered, row, recording_id, first_seen_at_ms, told_version, absent)
select id, pbx, identity, version, day, started_at_ms, utc_offset_s, offset_source, zone_offset_s, talk_s,
    answered, row, recording_id, first_seen_at_ms, told_version, absent
from calls order by id;

-- A table to which rows point cannot be dropped: they are put aside meanwhile.
create table kept_versions as select * from call_versions;
delete from call_versions;
drop table calls;
alter table keyed_calls rename to calls;
insert into call_versions (call_id, version, row, replaced_at_ms)
select call_id, version, row, replaced_at_ms from kept_versions;
drop table kept_versions;

-- How many calls a day has, and how many of them were answered and name no recording.
create table call_counts (
    pbx text not null,
    day text not null,
    calls integer not null,
    unrecorded integer not null,
    primary key (pbx, day)
) strict, without rowid;

insert into call_counts (pbx, day, calls, unrecorded)
select pbx, day, 1, answered = 1 and recording_id is null from calls where true
on conflict do update set calls = calls + 1, unrecorded = unrecorded + excluded.unrecorded;

create trigger calls_are_counted after insert on calls
begin
    insert into call_counts (pbx, day, calls, unrecorded)
    values (new.pbx, new.day, 1, new.answered = 1 and new.recording_id is null)
    on conflict do update set calls = calls + 1, unrecorded = unrecorded + excluded.unrecorded;
end;

create trigger calls_are_counted_anew after update of pbx, day, answered, recording_id on calls
when (old.pbx, old.day, old.answered, old.recording_id is null) is not
    (new.pbx, new.day, new.answered, new.recording_id is null)
begin
    update call_counts set calls = calls - 1, unrecorded = unrecorded - (old.answered = 1 and old.recording_id is null)
    where pbx = old.pbx and day = old.day;
    insert into call_counts (pbx, day, calls, unrecorded)
    values (new.pbx, new.day, 1, new.answered = 1 and new.recording_id is null)
    on conflict do update set calls = calls + 1, unrecorded = unrecorded + excluded.unrecorded;
    delete from call_counts where pbx = old.pbx and day = old.day and calls = 0;
end;

create trigger calls_are_counted_off after delete on calls
begin
    update call_counts set calls = calls - 1, unrecorded = unrecorded - (old.answered = 1 and old.recording_id is null)
    where pbx = old.pbx and day = old.day;
    delete from call_counts where pbx = old.pbx and day = old.day and calls = 0;
end;

-- How many recordings of a day stand how.
create table recording_counts (
    pbx text not null,
    day text not null,
    kind text not null,
    state text not null,
    -- Empty: none.
    reason text not null,
    final integer not null,
    recordings integer not null,
    primary key (pbx, day, kind, state, reason, final)
) strict, without rowid;

insert into recording_counts (pbx, day, kind, state, reason, final, recordings)
select pbx, day, kind, state, coalesce(reason, ''), final, 1 from recordings where true
on conflict do update set recordings = recordings + 1;

-- What is read at every look at the state: only what is not archived.
create index recording_counts_unarchived on recording_counts (pbx, kind, state, reason, final, day, recordings)
    where state <> 'archived';

create trigger recordings_are_counted after insert on recordings
begin
    insert into recording_counts (pbx, day, kind, state, reason, final, recordings)
    values (new.pbx, new.day, new.kind, new.state, coalesce(new.reason, ''), new.final, 1)
    on conflict do update set recordings = recordings + 1;
end;

create trigger recordings_are_counted_anew after update of pbx, day, kind, state, reason, final on recordings
when (old.pbx, old.day, old.kind, old.state, old.reason, old.final) is not
    (new.pbx, new.day, new.kind, new.state, new.reason, new.final)
begin
    update recording_counts set recordings = recordings - 1
    where pbx = old.pbx and day = old.day and kind = old.kind and state = old.state
        and reason = coalesce(old.reason, '') and final = old.final;
    insert into recording_counts (pbx, day, kind, state, reason, final, recordings)
    values (new.pbx, new.day, new.kind, new.state, coalesce(new.reason, ''), new.final, 1)
    on conflict do update set recordings = recordings + 1;
    delete from recording_counts
    where pbx = old.pbx and day = old.day and kind = old.kind and state = old.state
        and reason = coalesce(old.reason, '') and final = old.final and recordings = 0;
end;

create trigger recordings_are_counted_off after delete on recordings
begin
    update recording_counts set recordings = recordings - 1
    where pbx = old.pbx and day = old.day and kind = old.kind and state = old.state
        and reason = coalesce(old.reason, '') and final = old.final;
    delete from recording_counts
    where pbx = old.pbx and day = old.day and kind = old.kind and state = old.state
        and reason = coalesce(old.reason, '') and final = old.final and recordings = 0;
end;

-- One index for the recordings of a day, in place of three that were there to be counted.
drop index recordings_state;
drop index recordings_unarchived;
drop index recordings_owed;
create index recordings_of_day on recordings (pbx, day, started_at_ms);
