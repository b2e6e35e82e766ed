-- Reading a list again writes nothing about rows that are known as they are.

-- Whether the PBX's latest whole answer about its day lacked it. Until now each row noted the latest reading that held it.
alter table calls add column absent integer not null default 0 check (absent in (0, 1));
update calls set absent = 1 where reading <
    (select coalesce(max(id), 0) from readings where readings.pbx = calls.pbx and source = calls.day and whole = 1);

drop index calls_of_day;
create index calls_of_day on calls (pbx, day);
alter table calls drop column reading;
