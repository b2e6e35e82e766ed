-- Alerts: what the operator was told of and has not been told is over, and the messages on their way to him.

-- One row per thing that is wrong at present, or was until a moment ago.
create table alerts (
    -- Condition, PBX and subject: the same trouble has the same key for as long as it lasts.
    key text primary key not null,
    condition text not null,
    pbx text,
    severity text not null check (severity in ('critical', 'warning')),
    -- What is wrong and what to do, in a sentence; renewed while it lasts.
    message text not null,
    first_seen_at_ms integer not null,
    -- When it was last seen: gone for longer than the hold-down, it has recovered.
    last_seen_at_ms integer not null,
    -- When the operator was last told, first or by way of reminder.
    told_at_ms integer not null
) strict, without rowid;

-- One row per message and channel, until it was delivered or nobody can want it any more.
create table outbox (
    id integer primary key,
    -- The message's own id, the same on every try: receivers tell a repetition by it.
    message_id text not null,
    -- Where it goes, without secrets: `email`, or a webhook's host and number.
    channel text not null,
    -- The message as JSON; each channel gives it its own form.
    body text not null,
    created_at_ms integer not null,
    attempts integer not null default 0,
    due_at_ms integer not null,
    last_error text
) strict;

create index outbox_due on outbox (due_at_ms);

-- What is read at every look at the state: only what is not archived, so that a look costs no more when a million
-- recordings are; and the findings and calls that somebody should know of.
create index recordings_unarchived on recordings (pbx, kind, state, reason, final, started_at_ms)
    where state <> 'archived';
create index calls_unrecorded on calls (pbx) where answered = 1 and recording_id is null;
create index findings_open on findings (pbx, kind) where closed_at_ms is null;
