-- Call lists whose lines have random salts, and certificates whose names stand in a file of their own.

-- A call list that is on its way into the archive: its exact bytes, for its salts are drawn once, and what it tells of.
-- Whoever finds one goes on with it, so that a crash leads to the same file.
create table list_drafts (
    pbx text not null references pbx (id),
    day text not null,
    -- The whole file.
    text text not null,
    -- The calls in it, `[[id, "<version in hex>"], …]`, and the recordings, `[[id, "<state>", attempts], …]`: they are
    -- marked as told if they are still so when the file is there.
    calls text not null,
    recordings text not null,
    primary key (pbx, day)
) strict, without rowid;

-- The names of a certificate, salted line by line; null in a draft of version 0.1, which goes on as it was begun.
alter table certificate_drafts add column names text;
