-- What the clock of each PBX showed when it was last asked, beside ours.
create table clocks (
    pbx text primary key not null,
    -- By our clock.
    measured_at_ms integer not null,
    -- How far the PBX's clock is ahead of ours; negative if it is behind.
    skew_s integer not null,
    -- The last time that one of the two clocks was set: between which two measurements, by our clock, and by how much the
    -- PBX's gained on ours.
    jumped_after_ms integer,
    jumped_before_ms integer,
    jump_s integer
) strict, without rowid;

-- This machine's own clock.
create table own_clock (
    id integer primary key check (id = 1),
    -- The latest time that it ever showed. It shows an earlier one only if it was set back.
    latest_ms integer not null,
    -- Whether it is kept right by others, as the system last said.
    sync text not null check (sync in ('synchronised', 'unsynchronised', 'unknown'))
) strict;
