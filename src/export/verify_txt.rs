//! `VERIFY.txt`: how anybody checks the bag, with programs that are not ours. Each indented line is a command, to be run in
//! the bag's folder in the order of the page; the tests run them so.

use std::fmt::Write as _;

use super::{AGENT, Contents};
use crate::digest::Digest;

/// Writes it.
pub(super) fn of(contents: &Contents<'_>) -> String {
    let mut text = String::new();
    write(&mut text, contents).expect("writing to a String cannot fail");
    text
}

fn write(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    let Contents { request, now, .. } = contents;
    writeln!(text, "HOW TO CHECK THIS EXPORT\n")?;
    writeln!(text, "What: {}.", request.choice.in_words())?;
    writeln!(text, "Made by {AGENT} at {}.\n", now.strftime("%F %T UTC"))?;
    text.push_str(
        "Nothing of callvault is needed: the commands below are those of coreutils, OpenSSL and, where it says so, of\n\
         packages of others. Run them in this folder, in this order. callvault's source holds a program that does the\n\
         same with the packages of the Go project (tests/notary/check.go).\n",
    );
    whole(text)?;
    signed(text, contents)?;
    proven(text);
    stamped(text, contents)?;
    certified(text, contents)?;
    text.push_str(LIMITS);
    Ok(())
}

fn whole(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "\n1. NOTHING CHANGED SINCE IT WAS PACKED\n\n\
         \x20   sha256sum -c --quiet --strict manifest-sha256.txt\n\
         \x20   sha256sum -c --quiet --strict tagmanifest-sha256.txt\n\
         \x20   sha256sum tagmanifest-sha256.txt\n\n\
         Silence of the first two means that every file is as it was. The third hash stands for all of them: an entry of\n\
         type \"export\" in the ledger of the sender has it as bag_sha256. The same by the Library of Congress's program\n\
         (pip install bagit):\n\n\
         \x20   bagit.py --validate .\n\n\
         Whoever changes a file can rewrite these lists too. What follows holds all the same.\n",
    );
    Ok(())
}

fn signed(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    let log = contents.log;
    writeln!(text, "\n2. THE LEDGER IS SIGNED\n")?;
    writeln!(
        text,
        "log/checkpoint is the signed root of a ledger of {} entries, called {}.\n\
         Whoever signed it has the key whose fingerprint (SHA-256 of the public key) the next command prints. Compare it\n\
         with what you were told by another way than this export.",
        log.checkpoint.size, log.checkpoint.origin
    )?;
    for key in log.signers() {
        let id = key.id();
        writeln!(text, "\n    openssl pkey -pubin -in log/{id}.pem -outform der | sha256sum\n")?;
        writeln!(text, "When this was packed, it was {}.\n", Digest::of(key.to_der()))?;
        let Some(line) = log.signature_line(key) else { continue };
        writeln!(
            text,
            "The signature, which is in line {line} of the checkpoint, over the lines before the empty one:\n\n\
             \x20   check=$(mktemp -d)\n\
             \x20   sed '/^$/,$d' log/checkpoint > $check/body\n\
             \x20   sed -n '{line}p' log/checkpoint | cut -d ' ' -f 3 | base64 -d | tail -c 64 > $check/signature\n\
             \x20   openssl pkeyutl -verify -rawin -pubin -inkey log/{id}.pem -in $check/body -sigfile $check/signature\n"
        )?;
    }
    if let Some(key) = log.signers().next() {
        writeln!(
            text,
            "The same, and that the tiles of the tree are there (pip install aics-tlog), with the key as such programs take it;\n\
             put in its place what you were told, if you were:\n\n\
             \x20   key='{}'\n\
             \x20   aics-tlog verify-checkpoint --log-key \"$key\" --tiles log",
            key.to_vkey()
        )?;
    }
    Ok(())
}

fn proven(text: &mut String) {
    text.push_str(
        "\n3. THE RECORDINGS ARE THOSE OF THE LEDGER\n\n\
         Each file in proofs is a C2SP tlog-proof of the entry of one recording: its line \"extra\" is the entry, in base64,\n\
         which tells the SHA-256 of the audio and of its sidecar. data/files.jsonl says which proof is whose. This prints\n\
         the hash of each audio file that no proof tells of, and should print nothing:\n\n\
         \x20   for proof in proofs/*.tlog-proof; do sed -n 's/^extra //p' \"$proof\" | base64 -d; echo; done > $check/entries\n\
         \x20   grep -o '\"sha256\":\"[0-9a-f]*\"' $check/entries | cut -d '\"' -f 4 | sort > $check/proven\n\
         \x20   grep '\\.wav$' manifest-sha256.txt | grep -v ' data/_damaged/' | cut -c 1-64 | sort > $check/here\n\
         \x20   comm -13 $check/proven $check/here\n\n\
         The same for the sidecars, which say of which call a recording is:\n\n\
         \x20   grep -o '\"sidecar_sha256\":\"[0-9a-f]*\"' $check/entries | cut -d '\"' -f 4 | sort > $check/proven\n\
         \x20   grep '\\.wav\\.json$' manifest-sha256.txt | grep -v ' data/_damaged/' | cut -c 1-64 | sort > $check/here\n\
         \x20   comm -13 $check/proven $check/here\n",
    );
    text.push_str(
        "\nThat each entry is in the signed ledger (pip install aics-tlog):\n\n\
         \x20   for proof in proofs/*.tlog-proof; do sed -n 's/^extra //p' \"$proof\" | base64 -d > $check/entry; \
         aics-tlog verify-inclusion --log-key \"$key\" --tiles log --leaf $check/entry \
         --index \"$(basename \"$proof\" .tlog-proof)\" || echo \"NOT PROVEN: $proof\"; done\n",
    );
    text.push_str(
        "\nlog holds the whole ledger up to the checkpoint (C2SP tlog-tiles), so that you can also see whether an entry of\n\
         the days in question was left out of this export. Entries name no caller and no number.\n",
    );
}

fn stamped(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    writeln!(text, "\n4. WHEN IT EXISTED AT THE LATEST\n")?;
    if contents.tokens.is_empty() {
        text.push_str(
            "No time-stamp authority has stamped this ledger: that its times are true is the sender's word alone.\n",
        );
        return Ok(());
    }
    text.push_str(
        "Time-stamp authorities (RFC 3161) have stamped checkpoints of the ledger: each token proves that the entries below\n\
         the number in its name existed at its time. Take the certificates of an authority from the authority itself;\n\
         those in anchor are what the sender was given.\n\n",
    );
    for token in contents.tokens {
        let (data, reply, ca) = (token.checkpoint(), token.path(), token.certificates());
        match token.has_certificates {
            true => writeln!(text, "    openssl ts -verify -data {data} -in {reply} -CAfile {ca}")?,
            false => writeln!(text, "    openssl ts -reply -in {reply} -text")?,
        }
    }
    text.push_str(
        "\nThe ledger in log continues each of these checkpoints: its first entries come to the root that stands in the\n\
         checkpoint's third line.\n",
    );
    Ok(())
}

fn certified(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    let certificates = &contents.copied.certificates;
    let documents: Vec<&String> = certificates.iter().filter(|path| path.ends_with(".json")).collect();
    writeln!(text, "\n5. THAT NOTHING OF A DAY IS MISSING\n")?;
    if documents.is_empty() {
        text.push_str("There is no certificate of completeness: none of these days has settled yet.\n");
        return Ok(());
    }
    text.push_str(
        "Certificates of completeness say what each PBX listed of a day and what became of it, signed. The page (.html) is to\n\
         be read and printed; the document (.json) is what was signed, by the key that it names:\n\n\
         \x20   for certificate in $(find data -name 'certificate-*.json'); do id=$(grep -o '\"key\":\"[^\"]*\"' $certificate | \
         cut -d '\"' -f 4 | sed 's/.*+//'); openssl pkeyutl -verify -rawin -pubin -inkey log/$id.pem -in $certificate \
         -sigfile $certificate.sig || echo \"NOT SIGNED: $certificate\"; done\n",
    );
    Ok(())
}

const LIMITS: &str = "\nWHAT NONE OF THIS PROVES\n\n\
That the PBX recorded every call, or that what it recorded is what was said. That times before the first time stamp are\n\
true. That the key was always in good hands: only comparison with checkpoints that others have kept shows a second\n\
history. data/not-exported.jsonl names what was asked for and is not here, with the reason.\n";
