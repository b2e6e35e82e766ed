//! `VERIFY.txt`: how anybody checks the bag, with programs that are not ours. Each indented line is a command, to be run in
//! the bag's folder in the order of the page; the tests run them so.

use std::fmt::Write as _;

use super::anchors::Token;
use super::log::Scope;
use super::{AGENT, Contents};
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// The programs of others in Python that it names, of the versions against which each change of callvault is checked:
/// `scripts/check` reads them here.
const AICS_TLOG: &str = "0.2.1";
const BAGIT: &str = "1.9.0";

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
    text.push_str(&BEGIN.replace("BAGIT", BAGIT));
    signed(text, contents)?;
    match contents.selection.entries().is_empty() {
        true => text.push_str("\n3. THE RECORDINGS\n\nThere are none.\n"),
        false => proven(text, contents.log.scope),
    }
    stamped(text, contents)?;
    certified(text, contents)?;
    text.push_str(LIMITS);
    Ok(())
}

const BEGIN: &str = "\
Nothing of callvault is needed: the commands below are those of coreutils, OpenSSL and, where it says so, of packages of
others. Run them in this folder, in this order.

1. NOTHING CHANGED SINCE IT WAS PACKED

    sha256sum -c --quiet --strict manifest-sha256.txt
    sha256sum -c --quiet --strict tagmanifest-sha256.txt
    sha256sum tagmanifest-sha256.txt

Silence of the first two means that every file is as it was. The third hash stands for all of them: ask the sender for the
proof of his ledger's entry of type \"export\", which has it as bag_sha256. The same by the Library of Congress's program
(pip install bagit==BAGIT), which ends with \"is valid\":

    bagit.py --validate .

Whoever changes a file can rewrite these lists too. Against that stand the hash, if you have it from the sender's ledger, and
for the recordings all that follows.
";

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
    writeln!(text, "\n    check=$(mktemp -d)")?;
    for key in log.signers() {
        let id = key.id();
        writeln!(text, "    openssl pkey -pubin -in log/{id}.pem -outform der | sha256sum\n")?;
        writeln!(text, "When this was packed, it was {}.\n", Digest::of(key.to_der()))?;
        let Some(line) = log.signature_line(key) else { continue };
        writeln!(
            text,
            "The signature, which is in line {line} of the checkpoint, over the lines before the empty one; the last command says\n\
             \"Signature Verified Successfully\":\n\n\
             \x20   sed '/^$/,$d' log/checkpoint > $check/body\n\
             \x20   sed -n '{line}p' log/checkpoint | cut -d ' ' -f 3 | base64 -d | tail -c 64 > $check/signature\n\
             \x20   openssl pkeyutl -verify -rawin -pubin -inkey log/{id}.pem -in $check/body -sigfile $check/signature\n"
        )?;
    }
    if let Some(key) = log.signers().next() {
        writeln!(
            text,
            "The same, and that the tiles of the tree are there (pip install aics-tlog=={AICS_TLOG}), with the key as such programs take\n\
             it; put in its place what you were told, if you were. It says \"ok\": true.\n\n\
             \x20   key={}\n\
             \x20   aics-tlog verify-checkpoint --log-key \"$key\" --tiles log",
            quoted(&key.to_vkey())
        )?;
    }
    Ok(())
}

fn proven(text: &mut String, scope: Scope) {
    text.push_str(&PROVEN.replace("AICS_TLOG", AICS_TLOG));
    text.push_str(match scope {
        Scope::Whole => {
            "\nlog holds the whole ledger up to the checkpoint (C2SP tlog-tiles), so that you can also see whether an entry of\n\
             the days in question was left out of this export. Entries name no caller and no number.\n"
        }
        Scope::Tree => {
            "\nlog holds the tree of the ledger (C2SP tlog-tiles) without its other entries, for they tell of other things than\n\
             were asked for.\n"
        }
    });
}

const PROVEN: &str = r#"
3. EACH RECORDING IS THE ONE THAT THE LEDGER TELLS OF

Each file in proofs is a C2SP tlog-proof of one entry: its line "extra" is the entry, in base64, which tells the SHA-256 of
the audio and of its sidecar, and the sidecar tells its place. data/files.jsonl says which proof is whose. Silence means that
each audio file and each sidecar is the one of its own proof, and that there is no audio without a proof:

    hash() { sha256sum < "$1" | cut -d ' ' -f 1; }
    of() { printf '%s' "$line" | grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
    isnt() { if test -e "$1" && ! grep -qF "$2" "$3"; then echo "NOT THE ARCHIVED FILE: $1"; fi; }
    while read -r line; do
      file=$(of file); path=$(of path)
      sed -n 's/^extra //p' "$(of proof)" | base64 -d > $check/entry
      if test -e "$file"; then isnt "$file" "\"sha256\":\"$(hash "$file")\"" $check/entry; fi
      if test -e "$file.json"; then
        isnt "$file.json" "\"sidecar_sha256\":\"$(hash "$file.json")\"" $check/entry
        isnt "$file.json" "\"path\": \"$path\"" "$file.json"
      fi
      if test "data/$(printf '%s' "$path" | tr % ,)" != "$file"; then echo "NOT ITS PLACE: $file"; fi
      echo "$file" >> $check/listed
    done < data/files.jsonl
    find data -name '*.wav' -not -path 'data/_damaged/*' | sort > $check/here
    sort $check/listed | comm -13 - $check/here | sed 's/^/NO PROOF: /'

That each of these entries is in the signed ledger (pip install aics-tlog==AICS_TLOG). Silence means that all are; it takes about a
tenth of a second for each. For many use the Go project's packages: callvault's source has a program, tests/proof/notary/check.go.

    for proof in proofs/*.tlog-proof; do
      sed -n 's/^extra //p' "$proof" | base64 -d > $check/entry
      number=$(basename "$proof" .tlog-proof)
      if ! aics-tlog verify-inclusion --log-key "$key" --tiles log --leaf $check/entry --index "$number" > $check/said; then
        echo "NOT PROVEN: $proof"
      fi
    done
"#;

fn stamped(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    writeln!(text, "\n4. WHEN IT EXISTED AT THE LATEST\n")?;
    let (verified, others): (Vec<&Token>, Vec<&Token>) =
        contents.tokens.iter().partition(|token| token.is_verified());
    if verified.is_empty() {
        text.push_str(
            "No time stamp of this ledger was verified: that its times are true is the sender's word alone.\n",
        );
    } else {
        text.push_str(
            "Time-stamp authorities (RFC 3161) have stamped checkpoints of the ledger: each token proves that the entries below\n\
             the number in its name existed at its time. Take the certificates of an authority from the authority itself;\n\
             those in anchor are what the sender was given. Each says \"Verification: OK\".\n\n",
        );
    }
    for token in verified {
        let (data, reply, ca, at) =
            (token.checkpoint(), token.path(), token.certificates(), token.at.as_second());
        writeln!(
            text,
            "    openssl ts -verify -attime {at} -partial_chain -data {data} -in {reply} -CAfile {ca}"
        )?;
    }
    if !others.is_empty() {
        text.push_str(
            "\nThese time stamps are NOT VERIFIED, and prove nothing to who has not verified them by certificates of the\n\
             authority:\n\n",
        );
        for token in others {
            let reason = token.unverified.as_deref().unwrap_or_default();
            writeln!(text, "{}: {}", token.path(), printable(reason.as_bytes()))?;
        }
    }
    if contents.tokens.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nThat the ledger in log continues each of these checkpoints (pip install aics-tlog=={AICS_TLOG}). Silence means that it does; one that\n\
         an earlier key has signed wants that key.\n\n\
         \x20   for old in anchor/*.checkpoint; do\n\
         \x20     if ! aics-tlog verify-consistency --log-key \"$key\" --tiles log --old-checkpoint $old > $check/said; then\n\
         \x20       echo \"NOT CONTINUED: $old\"\n\
         \x20     fi\n\
         \x20   done"
    )?;
    Ok(())
}

fn certified(text: &mut String, contents: &Contents<'_>) -> std::fmt::Result {
    writeln!(text, "\n5. THAT NOTHING OF A DAY IS MISSING\n")?;
    if !contents.request.choice.is_of_whole_days() {
        text.push_str("Certificates of completeness are of whole days; this export is of less.\n");
        return Ok(());
    }
    if contents.copied.certificates.is_empty() {
        text.push_str("There is no certificate of completeness: none of these days has settled yet.\n");
        return Ok(());
    }
    text.push_str(
        "Certificates of completeness say what each PBX listed of a day and what became of it, signed. The page (.html) is to\n\
         be read and printed, and says how the file of names (.names.jsonl) is tied to what was signed; its own SHA-256 is in\n\
         the ledger's entry day_closed, as page_sha256. The document (.json) is what was signed, by the key that it names. Each\n\
         says \"Signature Verified Successfully\":\n\n\
         \x20   for certificate in $(find data -name 'certificate-*.json' -not -path 'data/_damaged/*'); do\n\
         \x20     id=$(sed -n 's/.*\"key\":\"[^+]*+\\([0-9a-f]*\\)\".*/\\1/p' $certificate)\n\
         \x20     openssl pkeyutl -verify -rawin -pubin -inkey log/$id.pem -in $certificate -sigfile $certificate.sig\n\
         \x20   done\n",
    );
    if !contents.copied.unproven_pages.is_empty() {
        text.push_str("\nThese pages are unproven: version 0.1 issued them, and no entry of the ledger has their hash.\n\n");
        contents.copied.unproven_pages.iter().try_for_each(|page| writeln!(text, "{page}"))?;
    }
    Ok(())
}

const LIMITS: &str = "
WHAT NONE OF THIS PROVES

That the PBX recorded every call, or that what it recorded is what was said. That times before the first time stamp are true.
That the key was always in good hands: only comparison with checkpoints that others have kept shows a second history.

The lists (data/cdr.csv, data/cdr.jsonl, data/not-exported.jsonl), the page and the events are the sender's word: nothing but
the hash of section 1 speaks for them, and for that nothing was taken out. What the PBX said of a call stands in the sidecar
of its recording too, which is proven. data/not-exported.jsonl names what was asked for and is not here, with the reason.
";

/// A text as one word of a shell, whatever is in it: the name of a ledger may hold quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_ledger_is_called_a_shell_takes_its_key_as_one_word() {
        for text in
            ["callvault/0123+5f+AA==", "it's", "''", "a'$(touch x)'`touch y`\"\\;&|#", "'; touch z; '"]
        {
            let folder = tempfile::tempdir().unwrap();
            let script = format!("key={}\nprintf %s \"$key\"", quoted(text));
            let said =
                std::process::Command::new("sh").args(["-c", &script]).current_dir(&folder).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), text, "{said:?}");
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{text}");
        }
    }
}
