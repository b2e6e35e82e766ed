-- One row per piece of audio that a PBX was heard to hold: the queue.
--
-- A claim does not change `state`: it notes the run that holds it, so that the next run can release it.
-- `ready` and `due_at_ms` are two halves of one thing: a row waits (due_at_ms), is ready, is claimed (run_id) or rests
-- (none of them). Keeping the ready ones apart lets a claim take the oldest without stepping over those that wait.
create table recordings (
    id integer primary key,
    pbx text not null references pbx (id),
    kind text not null check (kind in ('call', 'voicemail')),
    sn text not null,
    name blob not null,
    -- The PBX-local date of the first row stored, fixed for ever: it is part of the path.
    day text not null,
    started_at_ms integer not null,
    -- Relative to the archive's root, allocated once.
    path text not null unique collate nocase,
    -- Makes the hash of the sidecar a hiding commitment.
    salt blob not null check (length(salt) = 32),
    state text not null default 'pending'
        check (state in ('pending', 'archived', 'missing', 'excluded', 'stuck')),
    -- Why it is in this state: the class of the last error, or the name of the excluding rule.
    reason text,
    -- A missing one that is not asked for again by itself.
    final integer not null default 0 check (final in (0, 1)),
    attempts integer not null default 0,
    -- Failures in a row for `reason`.
    reason_attempts integer not null default 0,
    -- When the PBX first said that it does not have it (or gave an empty file), and how many such answers counted.
    absent_since_ms integer,
    absent_answers integer not null default 0,
    absent_asked_at_ms integer,
    -- A download whose declared size did not fit: two equal ones an hour apart are all there is.
    misfit_sha256 blob,
    misfit_at_ms integer,
    -- 1: an archived recording that is to be fetched once more, for a later row names it too; 2: it was.
    refetch integer not null default 0,
    ready integer not null default 0 check (ready in (0, 1)),
    due_at_ms integer,
    run_id text,
    -- The ledger's entry of its absence.
    gap_number integer,
    -- Whether its present state is in one of the day's calls-<n>.jsonl.
    told integer not null default 0,
    unique (pbx, kind, sn, name)
) strict;

create index recordings_ready on recordings (pbx, day, started_at_ms, id) where ready = 1;
create index recordings_due on recordings (pbx, due_at_ms) where due_at_ms is not null;
create index recordings_claimed on recordings (run_id) where run_id is not null;
-- Covers the counts by state, so that a start with a million rows does not read each of them.
create index recordings_state on recordings (pbx, day, state, kind, final);
create index recordings_untold on recordings (pbx, day) where told = 0 and state <> 'archived';
