-- The ledger as it was signed and published.

-- A checkpoint is stored before it is signed: what was signed once can never be contradicted by a run that died meanwhile.
create table checkpoints (
    -- Entries of the ledger that it covers.
    size integer primary key not null,
    root blob not null check (length(root) = 32),
    signed_at_ms integer not null
) strict;

-- The right edge of the tree at the latest checkpoint, so that a start does not read every leaf.
create table ledger_frontier (
    id integer primary key check (id = 1),
    size integer not null,
    hashes blob not null
) strict;

-- The keys that sign or signed. Their secret halves are files of the state folder.
create table ledger_keys (
    vkey text primary key not null,
    -- The order in which they came: the latest one signs.
    ordinal integer not null unique,
    created_at_ms integer not null,
    -- Until when a former one signs beside it; null of the latest.
    signs_until_ms integer,
    -- When it signed last; null while it signs.
    retired_at_ms integer
) strict, without rowid;
