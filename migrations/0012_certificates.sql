-- Certificates: what a settled day came to, signed, in the day's folder and in the ledger.

-- When a day was first read whole: the readings themselves are forgotten after a while.
alter table days add column first_read_at_ms integer;
update days set first_read_at_ms =
    (select min(read_at_ms) from readings where readings.pbx = days.pbx and source = days.day and whole = 1);

-- Certificates that are in the archive and in the ledger, append-only. The one of the highest revision is the day's.
create table certificates (
    pbx text not null references pbx (id),
    day text not null,
    revision integer not null,
    -- Of its JSON, relative to the archive's root; the signature and the page lie beside it.
    path text not null unique collate nocase,
    sha256 blob not null check (length(sha256) = 32),
    -- The ledger's entry `day_closed`.
    ledger_number integer not null references ledger (number),
    issued_at_ms integer not null,
    -- Whether its numbers add up, and whether nothing is left to be archived or doubted.
    sums integer not null check (sums in (0, 1)),
    complete integer not null check (complete in (0, 1)),
    -- What the day lacked, so that only news is told: recordings that were missing.
    missing integer not null,
    primary key (pbx, day, revision)
) strict, without rowid;

-- What has to be told of them at every look at the state, without a look at each of ten years.
create index certificates_incomplete on certificates (pbx, day, revision) where complete = 0;

create trigger certificates_are_append_only before update on certificates
begin select raise(abort, 'certificates are append-only'); end;
create trigger certificates_are_never_deleted before delete on certificates
begin select raise(abort, 'certificates are append-only'); end;

-- A certificate that is on its way into the archive: the exact bytes of its files, made at one moment. Whoever finds one
-- goes on with it, so that a crash leads to the same files.
create table certificate_drafts (
    pbx text not null references pbx (id),
    day text not null,
    revision integer not null,
    document text not null,
    signature blob not null check (length(signature) = 64),
    page text not null,
    -- The lines for `sha256sum -c` of all files that it counts.
    files text not null,
    primary key (pbx, day)
) strict, without rowid;
