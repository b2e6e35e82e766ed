"""check.py VKEY LEDGER CHECKPOINTS PROOFS: verifies a published ledger with aics-tlog, and nothing of callvault's."""

import base64
import pathlib
import sys

import aics_tlog as tlog


def main(vkey, ledger, checkpoints, proofs):
    key = tlog.parse_vkey(vkey)
    signed = believe((pathlib.Path(ledger) / "checkpoint").read_bytes(), key)
    reader = tlog.FileSystemTileReader(ledger)
    tlog.audit_tiles(reader, signed.size, signed.root, entries=True)
    files = sorted(pathlib.Path(checkpoints).iterdir())
    for file in files:
        earlier = believe(file.read_bytes(), key)
        proof = tlog.consistency_proof_from_tiles(reader, earlier.size, signed.size)
        if not tlog.verify_consistency(earlier.size, signed.size, earlier.root, signed.root, proof):
            sys.exit(f"the ledger does not continue the one of {earlier.size} entries")
    count = sum(check_proof(file.read_text(), key) for file in sorted(pathlib.Path(proofs).iterdir()))
    print(f"{signed.size} entries, {len(files)} checkpoints, {count} proofs: all as signed")


def believe(note, key):
    result = tlog.verify_checkpoint(tlog.parse_note(note), key, expected_origin=key.name)
    if not result.ok:
        sys.exit(f"a checkpoint is not signed: {result.error}")
    return result


def check_proof(text, key):
    """A file after C2SP tlog-proof@v1, which carries its entry."""
    head, checkpoint = text.split("\n\n", 1)
    first, extra, index, *hashes = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        sys.exit("a proof begins otherwise")
    entry = base64.b64decode(extra.removeprefix("extra "))
    number = int(index.removeprefix("index "))
    signed = believe(checkpoint, key)
    proof = [base64.b64decode(line) for line in hashes]
    if not tlog.verify_leaf_inclusion(entry, number, signed.size, proof, signed.root):
        sys.exit(f"entry {number} is not proven")
    return 1


if __name__ == "__main__":
    main(*sys.argv[1:])
