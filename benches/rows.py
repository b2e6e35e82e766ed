#!/usr/bin/env python3
"""The other peer of `scripts/bench`: reads a CDR file into callvault's own tables, a row at a time.

    rows.py DATABASE CDR.csv

DATABASE is the `callvault.db` of a state directory that holds no calls yet; no callvault may run beside it. It has
callvault's tables, indexes, triggers and checks, and its durability: a write-ahead log, `synchronous = FULL`. Each row is
hashed and looked up. A new one is inserted, with the recording that it names. Every 500 rows are one commit. Nothing else
is done: no day is judged, no offset learnt, no rule applied, no list doubted.
"""

import csv
import hashlib
import json
import os
import sqlite3
import sys
from datetime import date, datetime, timezone

ROWS_PER_COMMIT = 500


def main():
    database, cdr = sys.argv[1:]
    db = sqlite3.connect(database, isolation_level=None)
    for setting in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        db.execute(f"pragma {setting}")
    db.execute("insert or ignore into pbx (id) values ('bench')")
    with open(cdr, newline="", encoding="utf-8") as file:
        waiting = 0
        for row in csv.DictReader(file):
            if waiting == 0:
                db.execute("begin immediate")
            take(db, row)
            waiting = (waiting + 1) % ROWS_PER_COMMIT
            if waiting == 0:
                db.execute("commit")
        if waiting:
            db.execute("commit")


def take(db, row):
    fixed = "\0".join(row[name] for name in ("callid", "timestart", "callfrom", "callto", "recording", "sn"))
    identity = hashlib.sha256(fixed.encode()).digest()
    text = json.dumps({name: value for name, value in row.items() if name != "pincode"})
    version = hashlib.sha256(text.encode()).digest()
    day = row["timestart"][:10]
    identity_day = (date.fromisoformat(day) - date(1970, 1, 1)).days
    known = db.execute(
        "select id, version from calls where pbx = 'bench' and identity_day in (?, -1) and identity = ?",
        (identity_day, identity),
    ).fetchone()
    if known:
        if known[1] != version:
            db.execute("update calls set version = ?, row = ? where id = ?", (version, text, known[0]))
        return
    at = datetime.strptime(row["timestart"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    at_ms = int(at.timestamp() * 1000)
    recording = None
    if row["recording"]:
        path = f"bench/{day.replace('-', '/')}/{row['recording']}"
        recording = db.execute(
            "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, ready)"
            " values ('bench', 'call', ?, ?, ?, ?, ?, ?, 1) returning id",
            (row["sn"], row["recording"].encode(), day, at_ms, path, os.urandom(32)),
        ).fetchone()[0]
    values = ["bench", identity_day, identity, version, day, at_ms, 0, "zone", 0, int(row["talkduraction"])]
    values += [int(row["status"] == "ANSWERED"), text, recording, 0]
    names = "pbx, identity_day, identity, version, day, started_at_ms, utc_offset_s, offset_source, zone_offset_s, talk_s,"
    names += " answered, row, recording_id, first_seen_at_ms"
    db.execute(f"insert into calls ({names}) values ({', '.join('?' * len(values))})", values)


main()
