-- What is known of this installation and of each PBX beyond the configuration.

-- `state_id` names this state in the archive's markers; `exclusions` is the hash of the rules last applied.
create table meta (
    key text primary key not null,
    value text not null
) strict, without rowid;

create table pbx (
    id text primary key not null,
    -- The serial number of the device, learnt from it or from its CDR.
    sn text,
    -- The device's offset from UTC when its CDR last showed it.
    utc_offset_s integer,
    -- HMAC of URL, user and password that the PBX refused: nobody logs in with them again.
    refused_credentials blob,
    -- Why the PBX is left alone, in words for the operator, and until when (null: until the cause is mended).
    problem_reason text,
    problem_message text,
    problem_since_ms integer,
    paused_until_ms integer,
    -- "Missing" is believed only of a PBX that delivers: answers in a row, and the last delivery.
    missing_streak integer not null default 0,
    last_delivery_at_ms integer,
    last_sweep_at_ms integer,
    -- Hash of the settings that decide whether a download can work; stuck recordings are tried again when it changes.
    settings_hash blob
) strict, without rowid;
