-- Which time stamps were verified: the signature, and that certificates lead to one that the operator gave.

-- The token's file as it was when it was noted; null of those that version 0.1 noted.
alter table anchors add column sha256 blob check (length(sha256) = 32);

-- Entries of the largest checkpoint under a token that was verified, and when that was given; of a witness, that it signed.
alter table anchor_standings add column verified_size integer not null default 0;
alter table anchor_standings add column verified_at_ms integer;
-- Why the token over the largest checkpoint is not verified; null if it is.
alter table anchor_standings add column unverified text;

update anchor_standings set verified_size = size, verified_at_ms = reached_at_ms where kind = 'witness';
update anchor_standings set unverified = 'it was not judged yet: the service does so when it starts'
    where kind = 'authority' and size > 0;
