-- The last whole list of each day and file, if it left nothing open: if the same bytes come again, nothing in them is news.
create table known_lists (
    pbx text not null references pbx (id),
    -- The day, or the file by its name, size and time.
    source text not null,
    -- Of its bytes.
    sha256 blob not null check (length(sha256) = 32),
    -- Of all else that decides what a list says: the program that read it, its settings, and what was known of the PBX.
    read_by_sha256 blob not null check (length(read_by_sha256) = 32),
    rows integer not null,
    -- How many calls of its day it held.
    calls_of_day integer not null,
    primary key (pbx, source)
) strict, without rowid;
