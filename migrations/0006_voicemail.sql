-- What is known of a voicemail message besides its row in the queue: what its name is made of, when it was left, and
-- how its box showed it last.
create table voicemails (
    recording_id integer primary key not null references recordings (id),
    pbx text not null references pbx (id),
    extension text not null,
    -- As the PBX wrote them.
    date text not null,
    caller text not null,
    length text not null,
    -- Messages of one box may be alike in all of these: which of them it is, from 1.
    ordinal integer not null,
    utc_offset_s integer not null,
    offset_source text not null,
    zone_offset_s integer,
    -- The folder it was last seen in: read or unread; null if the device does not tell.
    status text,
    first_seen_at_ms integer not null,
    -- To the hour: a poll that changes nothing writes nothing.
    last_seen_at_ms integer not null
) strict;

create index voicemails_of_box on voicemails (pbx, extension, date);

-- What the last polls of each PBX's boxes came to.
create table voicemail_polls (
    pbx text primary key not null references pbx (id),
    -- The last whole list, and the last one that held any message: a store that shows nothing at all may be offline.
    polled_at_ms integer,
    listed_at_ms integer,
    -- The last message that was delivered. Voicemail and calls lie in different stores: one may be offline.
    delivered_at_ms integer,
    boxes integer not null default 0,
    messages integer not null default 0,
    -- The fullest box.
    fullest_extension text,
    fullest_messages integer not null default 0,
    -- When the device last said that it has no voicemail API; null if it has one, or was never asked.
    unsupported_at_ms integer
) strict, without rowid;
