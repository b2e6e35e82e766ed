//! How a reader checks the certificate without us.

use std::fmt::Write as _;

use crate::certificate::document::Document;
use crate::certificate::names::Names;
use crate::digest::Digest;
use crate::html::{escape, grouped};
use crate::tlog::VerifyingKey;

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
         <p>This page shows <code>{json}</code>, which lies beside it and is what was signed. Its SHA-256 is<br>\
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
         counts is there and unchanged (the list\u{2019}s own SHA-256 stands in the certificate: <span class=\"hash\">{}</span>); \
         the third shows the key\u{2019}s fingerprint.</p>",
        document.files.sha256
    )
}

/// The folder of a path.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn fingerprint(key: &VerifyingKey) -> String {
    Digest::of(key.to_der()).to_string()
}
