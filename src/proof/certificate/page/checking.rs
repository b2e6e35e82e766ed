//! How a reader checks the certificate without us.

use std::fmt::Write as _;

use crate::base::digest::Digest;
use crate::formats::tlog::{VerifyingKey, leaf_hash};
use crate::proof::certificate::document::{Companion, Document};
use crate::proof::certificate::names::Names;
use crate::proof::html::{count, escape, grouped};

pub(super) fn how(
    page: &mut String,
    document: &Document<'_>,
    text: &str,
    names: Names,
    key: &VerifyingKey,
) -> std::fmt::Result {
    let [json, signature, list] = [names.document(), names.signature(), names.files()];
    let pem = format!("_ledger/keys/{}.pem", key.id());
    let up = "../".repeat(4);
    writeln!(
        page,
        "<h2>How to check it</h2>\n\
         <p>This page shows <code>{json}</code>, which lies beside it and is what was signed. It names nobody: it has counts, \
         and numbers of entries of the ledger. Its SHA-256 is<br>\
         <span class=\"hash\">{}</span></p>\n\
         <p>The key that signed it is <code>{}</code>. Its fingerprint, the SHA-256 of the public key in DER, is<br>\
         <span class=\"hash\">{}</span><br>\
         Compare it with what you were told by another way than this archive.</p>\n\
         <p>In this folder, <code>{}</code> of the archive:</p>",
        grouped(&Digest::of(text).to_string()),
        escape(&document.key),
        grouped(&fingerprint(key)),
        escape(folder(&document.files.list)),
    )?;
    writeln!(
        page,
        "<pre>openssl pkeyutl -verify -rawin -pubin -inkey {up}{pem} \\\n    -in {json} -sigfile {signature}\n\
         sha256sum -c --quiet --strict {list}\n\
         openssl pkey -pubin -in {up}{pem} -outform der | sha256sum</pre>\n\
         <p class=\"note\">The first says whether the key has signed the certificate; the second, whether each file that it \
         counts is there and unchanged; the third shows the key\u{2019}s fingerprint.</p>"
    )
}

/// How the names are tied to what was signed, with the first of them as an example.
pub(super) fn names(
    page: &mut String,
    document: &Document<'_>,
    names: Names,
    named: &str,
) -> std::fmt::Result {
    let file = names.companion();
    let Companion { lines, root, .. } = &document.names;
    writeln!(
        page,
        "<p>The names are in <code>{file}</code>: {}, one for each file that is counted and for whatever is named above. Each \
         has a salt of its own, so that it can be erased without a change to what was signed. The certificate holds the root \
         of the Merkle tree (RFC 6962) over their hashes, which is<br><span class=\"hash\">{}</span></p>\n\
         <pre>{}</pre>",
        count(i64::try_from(*lines).unwrap_or(i64::MAX), "line"),
        grouped(&root.to_string()),
        escape(&ROOT.replace("FILE", &file))
    )?;
    if let Some(first) = named.lines().nth(1) {
        writeln!(
            page,
            "<p>The hash of a line is the SHA-256 of a zero byte and the line. That of the first one is<br>\
             <span class=\"hash\">{}</span></p>\n<pre>(printf '\\000'; sed -n 2p {file} | tr -d '\\n') | sha256sum</pre>",
            grouped(&leaf_hash(first.as_bytes()).to_string())
        )?;
    }
    writeln!(
        page,
        "<p class=\"note\">The list for <code>sha256sum</code> tells the files of these lines once more, in the form that it \
         reads. This page is not signed: entry <code>day_closed</code> of the ledger has its SHA-256, as \
         <code>page_sha256</code>.</p>"
    )
}

/// Prints the root of a companion. The format's document has the same.
const ROOT: &str = r#"python3 - FILE <<'END'
import hashlib, json, sys
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
lines = open(sys.argv[1], "rb").read().split(b"\n")[1:-1]
print(root([leaf(line) for line in lines]).hex())
END"#;

/// The folder of a path.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn fingerprint(key: &VerifyingKey) -> String {
    Digest::of(key.to_der()).to_string()
}
