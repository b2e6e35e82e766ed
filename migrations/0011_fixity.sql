-- Fixity: when the bytes of what was archived were last read and found right, so that every byte is read again within a
-- time, the longest unread first; and what verifications came to.

-- One row per thing that is read as one: an archived file with its sidecar, or what a day folder holds besides (its call
-- lists and its SHA256SUMS). The row comes into being with the thing.
create table file_checks (
    id integer primary key,
    pbx text not null,
    file_id integer unique references archived_files (id),
    folder text unique references day_folders (folder),
    -- When all of it was last read and found right. At first, of a file, when it was archived; of a folder, 0.
    read_at_ms integer not null,
    -- Whether it was found damaged since: then every look reads it again.
    damaged integer not null default 0 check (damaged in (0, 1)),
    check ((file_id is null) <> (folder is null))
) strict;

create index file_checks_oldest on file_checks (read_at_ms, id);
-- Of each PBX, how long ago its longest unread file was read. What is damaged is told otherwise.
create index file_checks_of_pbx on file_checks (pbx, read_at_ms) where damaged = 0 and file_id is not null;

create trigger archived_files_are_checked after insert on archived_files
begin
    insert into file_checks (pbx, file_id, read_at_ms)
    select pbx, new.id, new.archived_at_ms from recordings where id = new.recording_id;
end;

create trigger day_folders_are_checked after insert on day_folders
begin
    insert into file_checks (pbx, folder, read_at_ms)
    values (substr(new.folder, 1, instr(new.folder, '/') - 1), new.folder, 0);
end;

insert into file_checks (pbx, file_id, read_at_ms, damaged)
select pbx, file.id, file.archived_at_ms, exists (
    select 1 from findings
    where kind in ('file_missing', 'file_altered') and subject = file.path and closed_at_ms is null)
from archived_files file join recordings on recordings.id = recording_id;

insert into file_checks (pbx, folder, read_at_ms)
select substr(folder, 1, instr(folder, '/') - 1), folder, 0 from day_folders;

-- The end of the last verification that looked at everything, by how thorough it was.
create table verifications (
    scope text primary key not null check (scope in ('quick', 'full')),
    whole_at_ms integer not null
) strict, without rowid;

-- The reading of every byte that is under way, a part at a time: since when, and how much was read for it so far.
create table scrub (
    id integer primary key check (id = 1),
    -- When the service first read for any.
    first_at_ms integer not null,
    -- Null between two.
    began_at_ms integer,
    files integer not null default 0,
    bytes integer not null default 0
) strict;

-- The hash of each PBX's marker, noted when it was first seen right.
create table markers (
    pbx text primary key not null,
    sha256 blob not null check (length(sha256) = 32)
) strict, without rowid;

-- From an entry of the ledger to its file.
create index archived_files_by_entry on archived_files (ledger_number);
