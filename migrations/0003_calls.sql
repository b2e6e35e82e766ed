-- One row per CDR row, also those without a recording: an answered call that was not recorded is a compliance question.
create table calls (
    id integer primary key,
    pbx text not null references pbx (id),
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
    -- The latest reading that held it: tells a reading with fewer rows.
    reading integer not null,
    -- The version that the latest of the day's calls-<n>.jsonl tells.
    told_version blob,
    unique (pbx, identity)
) strict;

create index calls_of_day on calls (pbx, day, reading);
create index calls_of_recording on calls (recording_id) where recording_id is not null;
create index calls_untold on calls (pbx, day) where told_version is not version;

-- Versions of a call that were current before.
create table call_versions (
    call_id integer not null references calls (id),
    version blob not null,
    row text not null,
    replaced_at_ms integer not null,
    primary key (call_id, version)
) strict, without rowid;

-- The unit of reconciliation. Open days are always read again.
create table days (
    pbx text not null references pbx (id),
    day text not null,
    state text not null default 'open' check (state in ('open', 'settled')),
    readings integer not null default 0,
    last_read_at_ms integer not null,
    settled_at_ms integer,
    -- How often it settled: its certificate's revision.
    revision integer not null default 0,
    -- How many calls-<n>.jsonl it has.
    calls_files integer not null default 0,
    primary key (pbx, day)
) strict, without rowid;

-- One look at a PBX's CDR: a day over the API, or a file.
create table readings (
    id integer primary key,
    pbx text not null references pbx (id),
    source text not null,
    read_at_ms integer not null,
    -- Whether it came to its end.
    whole integer not null default 0 check (whole in (0, 1))
) strict;

create index readings_by_source on readings (pbx, source) where whole = 1;
