-- How far the ledger was delivered to each webhook of the feed.
create table feed_webhooks (
    name text primary key not null,
    -- The number of the entry that comes next: all before were taken.
    next integer not null,
    -- The number after the last entry of the delivery under way, null if none is. It is written down before the first
    -- try, so that every try is of the same entries, whatever ends the process or comes into the ledger meanwhile.
    batch_end integer check (batch_end > next),
    -- When it last took one; null before the first.
    delivered_at_ms integer,
    -- Tries of this delivery that failed, why the last of them did, and since when.
    failures integer not null default 0,
    last_error text,
    failing_since_ms integer
) strict, without rowid;
