#!/usr/bin/env python3
"""Checks certificates (callvault-certificate/2), their names (callvault-names/1) and call lists (callvault-calls/2) of an
archive by docs/archive-format.md alone: Python's standard library, openssl and sha256sum. It shares no code with callvault.

usage: documents.py ARCHIVE       prints what it has checked; each line that begins with WRONG is a fault, and exit code 1
"""
import hashlib, json, os, re, subprocess, sys

ARCHIVE = sys.argv[1]
wrong = []


def right(holds, what):
    if not holds:
        wrong.append(what)
        print("WRONG:", what)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def read(path):
    try:
        with open(os.path.join(ARCHIVE, path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        right(False, f"{path} is gone")
        return b""


def leaf(line):
    told = json.loads(line)
    if told.get("type") == "erased":
        return bytes.fromhex(told["leaf"])
    return hashlib.sha256(b"\0" + line).digest()


def root(hashes):
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(hashes[:half]) + root(hashes[half:])).digest()


def check_lines(path, schema, count, expected):
    """The lines of a file: as many as said, each with a salt, and all come to the root, also with any one erased."""
    data = read(path)
    right(data.endswith(b"\n"), f"{path} does not end with a line")
    head, *lines = data.split(b"\n")[:-1]
    right(json.loads(head)["schema"] == schema, f"{path} has another schema")
    right(len(lines) == count, f"{path} has {len(lines)} lines, not {count}")
    salts = [json.loads(line)["line_salt"] for line in lines]
    right(all(re.fullmatch("[0-9a-f]{64}", salt) for salt in salts), f"{path} has a line without a salt")
    right(len(set(salts)) == len(salts), f"{path} has a salt twice")
    right(root([leaf(line) for line in lines]).hex() == expected, f"{path} does not come to its root")
    for at, line in enumerate(lines):
        erased = b'{"type":"erased","leaf":"%s"}' % leaf(line).hex().encode()
        edition = lines[:at] + [erased] + lines[at + 1 :]
        right(root([leaf(other) for other in edition]).hex() == expected, f"{path} without line {at + 2}")
        altered = lines[:at] + [line.replace(b'"type"', b'"Type"', 1)] + lines[at + 1 :]
        right(root([leaf(other) for other in altered]).hex() != expected, f"{path} with line {at + 2} altered")
    for line in lines:
        right(not {"identity", "version"} & json.loads(line).keys(), f"{path} has an unsalted hash of numbers")
    return [json.loads(line) for line in lines]


def ledger():
    """All entries that are published, in their order."""
    entries, folder = [], os.path.join(ARCHIVE, "_ledger/tile/entries")
    for index in range(1000):
        full = os.path.join(folder, f"{index:03}")
        partial = full + ".p"
        if not os.path.exists(full):
            if not os.path.isdir(partial):
                return entries
            full = os.path.join(partial, max(os.listdir(partial), key=int))
        bundle = open(full, "rb").read()
        while bundle:
            size = int.from_bytes(bundle[:2], "big")
            entries.append(json.loads(bundle[2 : 2 + size]))
            bundle = bundle[2 + size :]
    return entries


def numbers(ranges):
    for one in ranges:
        first, _, last = one.partition("-")
        yield from range(int(first), int(last or first) + 1)


def commitment(told, pbx):
    identity = {"kind": told["kind"], "name": told["name"], "pbx": pbx, "sn": told["sn"]}
    json_text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(bytes.fromhex(told["salt"]) + json_text.encode())


def check_certificate(entry, entries, absent):
    folder = f"{entry['pbx']}/{entry['day'].replace('-', '/')}"
    stem = f"{folder}/certificate-{entry['revision']}"
    document = read(stem + ".json")
    right(sha256(document) == entry["certificate_sha256"], f"{stem}.json is not the one of its entry")
    told = json.loads(document)
    if told["schema"] == "callvault-certificate/1":
        return 0
    right(told["schema"] == "callvault-certificate/2", f"{stem} has another schema")
    right(sha256(read(stem + ".html")) == entry["page_sha256"], f"{stem}.html is not the one of its entry")
    right((told["evidence"] or {}).get("verdict") == entry.get("verdict"), f"{stem} has another verdict than its entry")
    key = f"../../../../_ledger/keys/{told['key'].rpartition('+')[2]}.pem"
    name = stem.rpartition("/")[2]
    openssl = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key]
    openssl += ["-in", name + ".json", "-sigfile", name + ".json.sig"]
    sums = ["sha256sum", "-c", "--quiet", "--strict", name + ".sha256"]
    # Of a day without files the list is empty, which sha256sum takes for an error.
    for command in [openssl, sums] if read(stem + ".sha256") else [openssl]:
        run = subprocess.run(command, cwd=os.path.join(ARCHIVE, folder), capture_output=True)
        right(run.returncode == 0, f"{' '.join(command)}: {run.stdout} {run.stderr}")
    for member in "listed", "archived", "missing", "excluded", "pending", "stuck":
        right(told[member] == entry[member], f"{stem}: {member} is another in its entry")

    right(told["names"]["file"] == stem + ".names.jsonl", f"{stem} has its names elsewhere")
    names = check_lines(stem + ".names.jsonl", "callvault-names/1", told["names"]["lines"], told["names"]["root"])
    files = [line for line in names if line["type"] == "file"]
    listed = "".join(f"{line['sha256']}  {line['name']}\n" for line in files)
    right(read(stem + ".sha256").decode() == listed, f"{stem}.sha256 lists other files than its names")
    right(told["files"]["count"] == len(files), f"{stem} counts other files")

    counted = {number: entries[number] for number in numbers(told["entries"])}
    right(all(one["type"] in ("archived", "conflict") for one in counted.values()), f"{stem}: entries of other things")
    right({one["day"] for one in counted.values()} <= {told["day"]}, f"{stem}: entries of other days")
    right(all(number < told["ledger_size"] for number in counted), f"{stem}: entries of later")
    right(len(counted) == told["archived"] + told["conflicts"]["count"], f"{stem}: {len(counted)} entries")
    by_entry = {line["entry"]: line["sha256"] for line in files if "entry" in line}
    right(by_entry == {number: one["sha256"] for number, one in counted.items()}, f"{stem}: files of other entries")

    items = told["unarchived"]["items"]
    right(len(items) == told["unarchived"]["count"], f"{stem}: unarchived")
    named = [line for line in names if line["type"] == "unarchived"]
    right([one["recording"] for one in items] == [one["recording"] for one in named], f"{stem}: names of unarchived")
    for item, line in zip(items, named):
        right(item["recording"] == commitment(absent[line["path"]], told["pbx"]["id"]), f"{stem}: {line['path']}")
        right(item["gap"] is None or entries[item["gap"]]["recording"] == item["recording"], f"{stem}: a gap")
    for kind, member in ("unrecorded", "unrecorded"), ("suspect", "suspect"), ("finding", "findings"):
        lines = sum(line["type"] == kind for line in names)
        right(lines == told[member]["count"], f"{stem}: {lines} lines of {kind}")
    right(told["complete"] <= (told["sums"] and not items or told["excluded"] == len(items)), f"{stem}: complete")

    # What is signed names nobody.
    words = {word for line in names for member in ("path", "name", "callid", "subject") for word in [line.get(member)]}
    # The PBX and the day are no person.
    words -= {None, "", told["day"], told["pbx"]["id"]}
    for word in words:
        right(not isinstance(word, str) or word not in document.decode(), f"{stem}.json names {word}")
    return 1


def main():
    entries = ledger()
    lists = certificates = 0
    absent = {}
    for entry in entries:
        if entry["type"] == "lists":
            path = f"{entry['pbx']}/{entry['day'].replace('-', '/')}/calls-{entry['n']}.jsonl"
            right(sha256(read(path)) == entry["sha256"], f"{path} is not the one of its entry")
            for line in check_lines(path, "callvault-calls/2", entry["lines"], entry["root"]):
                if line["type"] == "recording":
                    absent[line["path"]] = line
            lists += 1
    for entry in entries:
        if entry["type"] == "day_closed":
            certificates += check_certificate(entry, entries, absent)
    print(f"{lists} lists, {certificates} certificates, {len(wrong)} wrong")
    return bool(wrong) or lists == 0


sys.exit(main())
