-- When each of the service's jobs last ran and is next due, so that what was missed is made up for. `pbx` is empty for a
-- job that concerns all.
create table jobs (
    job text not null,
    pbx text not null default '',
    last_run_at_ms integer not null,
    next_due_at_ms integer not null,
    primary key (job, pbx)
) strict, without rowid;

-- The service that owns this state, as others see it. The lock tells whether it runs; this tells since when.
create table service (
    id integer primary key check (id = 1),
    pid integer not null,
    version text not null,
    started_at_ms integer not null,
    -- When it last proved that it makes progress.
    beat_at_ms integer not null,
    -- When it ended in good order.
    stopped_at_ms integer
) strict;

-- What a command asks of the process that has the lock. A command without the lock writes nothing else.
create table requests (
    id integer primary key,
    -- The request as JSON; it holds no secrets.
    request text not null,
    made_at_ms integer not null,
    state text not null default 'waiting' check (state in ('waiting', 'running', 'done')),
    -- Whether who made it has given up on it.
    cancelled integer not null default 0 check (cancelled in (0, 1)),
    -- How far it is, and what came of it, as JSON.
    progress text,
    outcome text
) strict;

create index requests_open on requests (id) where state <> 'done';

-- Since when the operator wants this PBX left alone.
alter table pbx add column paused_at_ms integer;
