-- Things that are wrong or odd and that a person should know of. Each is kept once and counted.
create table findings (
    id integer primary key,
    kind text not null,
    pbx text,
    -- What it concerns: a file and line, a day, a recording's name made printable.
    subject text not null,
    detail text not null,
    first_seen_at_ms integer not null,
    last_seen_at_ms integer not null,
    count integer not null default 1,
    -- When it was seen to be mended; null for what still holds, or can never be undone.
    closed_at_ms integer,
    unique (kind, pbx, subject)
) strict;
