-- The ledger: all that happened to the archive, append-only and numbered from 0 without gaps, for it is a Merkle tree.
create table ledger (
    number integer primary key,
    -- Canonical JSON (RFC 8785), at most 4 KiB, free of names and numbers of people.
    entry text not null check (length(entry) <= 4096),
    -- SHA-256(0x00 || entry), RFC 6962.
    leaf_hash blob not null check (length(leaf_hash) = 32)
) strict;

create trigger ledger_is_append_only before update on ledger
begin select raise(abort, 'the ledger is append-only'); end;
create trigger ledger_forgets_nothing before delete on ledger
begin select raise(abort, 'the ledger is append-only'); end;

-- The catalog: what the archive holds, append-only. A second file of one recording is a conflict.
create table archived_files (
    id integer primary key,
    recording_id integer not null references recordings (id),
    path text not null unique collate nocase,
    -- The day folder, in which SHA256SUMS lists it.
    folder text not null,
    size_bytes integer not null,
    sha256 blob not null check (length(sha256) = 32),
    sidecar_sha256 blob not null check (length(sidecar_sha256) = 32),
    format text not null,
    duration_ms integer,
    -- Comma-separated; empty when nothing is odd about the audio.
    suspect text not null default '',
    conflict integer not null default 0 check (conflict in (0, 1)),
    archived_at_ms integer not null,
    ledger_number integer not null references ledger (number)
) strict;

create index archived_files_of_recording on archived_files (recording_id);
create index archived_files_of_folder on archived_files (folder);

create trigger archived_files_are_append_only before update on archived_files
begin select raise(abort, 'the catalog is append-only'); end;
create trigger archived_files_are_never_deleted before delete on archived_files
begin select raise(abort, 'the catalog is append-only'); end;

-- The calls-<n>.jsonl of the day folders.
create table day_files (
    path text primary key not null collate nocase,
    folder text not null,
    sha256 blob not null check (length(sha256) = 32)
) strict, without rowid;

create index day_files_of_folder on day_files (folder);

-- A folder whose SHA256SUMS lags behind: `changed` counts its files, `written` what the sums held.
create table day_folders (
    folder text primary key not null,
    changed integer not null default 0,
    written integer not null default 0
) strict, without rowid;

create index day_folders_behind on day_folders (folder) where changed > written;
