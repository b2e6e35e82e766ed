-- Evidence: what it rests on that the list of a day is whole. See docs/proof.md.

-- The verdict on the list of a day: that of its latest late reading, or of the latest one while none was late. Null of
-- days that were read by version 0.1 alone. The day's open doubts lower it; they are rows of their own.
alter table days add column verdict text check (verdict in ('unread', 'short', 'doubtful', 'whole'));
-- Why it is not whole, as the end of a sentence.
alter table days add column verdict_cause text;
-- Whether that reading lay late enough after the day's end for all of its calls to be listed.
alter table days add column verdict_late integer not null default 0 check (verdict_late in (0, 1));
alter table days add column verdict_at_ms integer;
-- The rows that it held, those of the neighbouring hours included, and the requests that they came in.
alter table days add column verdict_rows integer;
alter table days add column verdict_parts integer;

-- What has to be told at every look at the state.
create index days_not_whole on days (pbx, day) where verdict <> 'whole';

-- A line of a list that cannot be believed: it may name a recording that nobody knows of. It stands until that very line
-- can be read, or the call that it begins to tell is listed readably.
create table doubts (
    id integer primary key,
    pbx text not null references pbx (id),
    -- The days that it can concern.
    day_from text not null,
    day_to text not null,
    -- The list: that of a day, or a file's name.
    input text not null,
    -- Of the line as it was received. It stays in this database: a short line with a PIN code could be guessed from it.
    line_sha256 blob not null check (length(line_sha256) = 32),
    cause text not null,
    -- The call's id, where the line tells it for certain.
    callid text,
    -- How many lines of that call the list held: it is settled when as many of its rows are known.
    callid_lines integer,
    first_seen_at_ms integer not null,
    last_seen_at_ms integer not null,
    -- All lines that the list held when this one was seen last, and whether that was late enough for all of its calls.
    list_lines integer not null,
    list_late integer not null check (list_late in (0, 1)),
    cleared_at_ms integer,
    unique (pbx, input, line_sha256)
) strict;

create index doubts_open on doubts (pbx, day_from) where cleared_at_ms is null;

-- How much a PBX gives in one list at most, as far as it showed.
create table list_limits (
    pbx text not null references pbx (id),
    unit text not null check (unit in ('rows', 'bytes')),
    -- So much was given, and its halves held nothing more: no list of up to so much is cut by a limit.
    proven integer not null default 0,
    -- Lists seem to be cut at so much: their halves held more.
    suspected integer,
    changed_at_ms integer not null,
    primary key (pbx, unit)
) strict, without rowid;

-- When the days outside of all that is kept were last asked for: a PBX that lost its clock files calls there.
create table outlooks (
    pbx text primary key not null references pbx (id),
    looked_at_ms integer not null
) strict, without rowid;

-- What the rows of a day came by: each way once.
create table provenance (
    pbx text not null references pbx (id),
    day text not null,
    source text not null check (source in ('api', 'file')),
    -- How the PBX was known: 'pinned', 'roots' or 'plain'; empty of a file.
    transport text not null,
    -- The SHA-256 of the pinned key, or that of the file; empty where there is none.
    sha256 text not null,
    first_at_ms integer not null,
    primary key (pbx, day, source, transport, sha256)
) strict, without rowid;

-- Days whose list the operator takes as it is. The ledger has an entry of each.
create table accepted_days (
    pbx text not null references pbx (id),
    day text not null,
    reason text not null,
    -- What was accepted: the verdict, and the open doubts.
    verdict text not null,
    doubts integer not null,
    accepted_at_ms integer not null,
    ledger_number integer not null references ledger (number),
    primary key (pbx, day, ledger_number)
) strict, without rowid;

-- The doubts that were accepted with a day. They say nothing against it any more.
create table accepted_doubts (
    doubt integer not null references doubts (id),
    day text not null,
    primary key (doubt, day)
) strict, without rowid;
