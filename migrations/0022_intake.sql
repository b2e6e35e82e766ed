-- What each PBX has added to this database, by the hour: one that adds more in a day than its calls can be is slowed.
create table intake (
    pbx text not null,
    hour integer not null,
    rows integer not null,
    bytes integer not null,
    primary key (pbx, hour)
) strict, without rowid;
