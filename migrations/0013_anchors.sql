-- What others have said of the ledger's checkpoints: time-stamp authorities and witnesses.

-- The tokens of time-stamp authorities. They are files beside the ledger; a row only says that one is there.
create table anchors (
    authority text not null,
    -- Entries of the ledger that the checkpoint under the token covers.
    size integer not null,
    root blob not null check (length(root) = 32),
    anchored_at_ms integer not null,
    -- The token's file, below the ledger's folder.
    path text not null,
    primary key (authority, size)
) strict, without rowid;

-- How it stands with each of them.
create table anchor_standings (
    kind text not null check (kind in ('authority', 'witness')),
    name text not null,
    -- Entries of the largest checkpoint that it has vouched for; 0 before the first.
    size integer not null default 0,
    -- When it did, by our clock.
    reached_at_ms integer,
    -- Why it does not at present, and since when; null while it does.
    last_error text,
    failing_since_ms integer,
    primary key (kind, name)
) strict, without rowid;
