//! Which time stamps count: those that were signed for our checkpoint, now, under a certificate that the operator gave.

use std::fs;
use std::path::Path;
use std::process::Command;

use callvault::proof::anchor::{Evidence, Roots};
use jiff::Timestamp;

use super::house::House;
use crate::support::authority::signing::{self, Forgery, Stamper};
use crate::support::authority::{Authority, Manner};

/// What each kind of forgery is answered with.
const FORGERIES: [(Manner, &str); 13] = [
    (Manner::Forging(Forgery::NoSigner), "holds a token that is not signed as RFC 3161 requires"),
    (Manner::Forging(Forgery::WrongKey), "holds a token with a signature that does not fit"),
    (Manner::Forging(Forgery::WrongCertificate), "names another certificate than that of its signer"),
    (Manner::Forging(Forgery::NoCertificate), "holds a token without the certificate of its signer"),
    (Manner::Forging(Forgery::AlteredTime), "holds a token that was altered after it was signed"),
    (Manner::WrongImprint, "is a token over other bytes than ours"),
    (Manner::WrongNonce, "does not carry the nonce of our request"),
    (Manner::OtherPurpose, "but the certificate of its signer is not for time stamps"),
    (Manner::PurposeNotCritical, "but the certificate of its signer is not for time stamps"),
    (Manner::Past, "has the time 1999-12-31T23:59:59Z, but this machine's clock shows "),
    (Manner::Future, "correct this machine's clock"),
    // Only who has its certificates knows these.
    (Manner::OtherRoot, "cannot be trusted: its certificate does not lead to one in `ca_file`"),
    (Manner::Expired, "cannot be trusted: a certificate in its chain was not valid at its time"),
];

#[tokio::test]
async fn no_forged_time_stamp_is_kept_or_counts() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    for (manner, words) in FORGERIES {
        authority.behave(manner);
        open.grow(1).await;
        house.pass(61);
        open.round().await;
        let error = open.error().await;
        assert!(error.starts_with("authority `tsa`: the reply of 127.0.0.1 "), "{manner:?}: {error}");
        assert!(error.contains(words) && error.contains("; "), "{manner:?}: {error}");
        assert_eq!((house.anchors(), open.rows().await), (vec![], vec![]), "{manner:?}");
        let standing = open.standing().await;
        assert_eq!((standing.entries, standing.last, standing.unverified), (0, None, None), "{manner:?}");
    }
    authority.behave(Manner::Honest);
    house.pass(61);
    open.round().await;
    let standing = open.standing().await;
    assert_eq!((standing.entries, standing.unverified, standing.error), (14, None, None));
}

#[tokio::test]
async fn without_certificates_a_time_stamp_is_kept_and_called_not_verified() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section_without_ca("tsa")).await;
    // What anybody can see is refused all the same.
    for (manner, words) in &FORGERIES[..11] {
        authority.behave(*manner);
        open.grow(1).await;
        house.pass(61);
        open.round().await;
        let error = open.error().await;
        assert!(error.contains(words), "{manner:?}: {error}");
    }
    assert_eq!(house.anchors(), Vec::<String>::new());
    authority.behave(Manner::OtherRoot);
    house.pass(61);
    open.round().await;
    assert_eq!(house.anchors(), ["12.checkpoint", "12.tsa.tsr"]);
    let standing = open.standing().await;
    let unverified = standing.unverified.unwrap();
    assert_eq!((standing.entries, standing.last, standing.error), (0, None, None));
    assert_eq!((unverified.entries, unverified.reason.as_str()), (12, "its [[anchor]] has no `ca_file`"));
    let told = status(&house).await;
    let line = "authority `tsa` stamped 12 entries of the ledger; the stamp is NOT VERIFIED: its [[anchor]] has no `ca_file`";
    assert!(told.contains(line) && !told.contains("confirmed"), "{told}");
}

#[tokio::test]
async fn what_lies_there_is_judged_again_when_the_operator_gives_certificates() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section_without_ca("tsa")).await;
    open.grow(2).await;
    open.round().await;
    assert_eq!(open.standing().await.entries, 0);
    drop(open);
    let open = house.open(&authority.section("tsa")).await;
    open.anchorer.take_stock().await.unwrap();
    let standing = open.standing().await;
    assert_eq!((standing.entries, standing.unverified), (3, None));
    assert!(status(&house).await.contains("authority `tsa` confirmed 3 entries of the ledger"));
    drop(open);
    // Of others than the authority's: what was verified once stays so, and nothing more is.
    let other = house.folder.path().join("other.pem");
    fs::write(&other, signing::pem(signing::new_ca("Test CA").der())).unwrap();
    let lines = format!("{}ca_file = '{}'\n", authority.section_without_ca("tsa"), other.display());
    let open = house.open(&lines).await;
    open.grow(1).await;
    house.pass(61);
    open.round().await;
    open.anchorer.take_stock().await.unwrap();
    assert!(open.error().await.contains("does not lead to one in `ca_file`"));
    let standing = open.standing().await;
    assert_eq!(standing.entries, 3);
    assert!(standing.unverified.unwrap().reason.contains("does not lead to one in `ca_file`"));
}

/// Version 0.1 believed a token without a signer, of 1999.
#[tokio::test]
async fn a_forged_time_stamp_that_is_in_an_archive_already_counts_no_more() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    let sealed = open.grow(4).await;
    fs::create_dir(house.file("anchor")).unwrap();
    fs::write(house.file("anchor/5.checkpoint"), &sealed.note).unwrap();
    let past: Timestamp = "1999-12-31T23:59:59Z".parse().unwrap();
    let forged = Stamper::under(signing::ca()).reply(&query(sealed.note.as_bytes()), past, Forgery::NoSigner);
    fs::write(house.file("anchor/5.tsa.tsr"), forged).unwrap();
    let noted = sqlx::query(
        "insert into anchors (authority, size, root, anchored_at_ms, path)
         values ('tsa', 5, zeroblob(32), 946684799000, 'anchor/5.tsa.tsr')",
    );
    let reached = sqlx::query(
        "insert into anchor_standings (kind, name, size, reached_at_ms, unverified)
         values ('authority', 'tsa', 5, 946684799000, 'it was not judged yet')",
    );
    let note = open.state.db.write(async move |tx| {
        noted.execute(&mut *tx).await?;
        reached.execute(tx).await?;
        Ok(())
    });
    note.await.unwrap();
    open.anchorer.take_stock().await.unwrap();
    let standing = open.standing().await;
    assert_eq!(standing.entries, 0);
    let reason = standing.unverified.unwrap().reason;
    assert!(reason.contains("is not signed as RFC 3161 requires"), "{reason}");
    assert!(status(&house).await.contains("NOT VERIFIED"));
    // The file stays as it is: whoever looks for it finds it.
    assert!(house.file("anchor/5.tsa.tsr").exists());
}

/// Whoever plants a token keeps no authority from being asked for good, and is never counted.
#[tokio::test]
async fn planted_time_stamps_are_not_adopted() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    let sealed = open.grow(4).await;
    fs::create_dir(house.file("anchor")).unwrap();
    fs::write(house.file("anchor/5.checkpoint"), &sealed.note).unwrap();
    let now = house.clock.now();
    let planted = Stamper::under(&signing::new_ca("Test CA"));
    let token = planted.reply(&query(sealed.note.as_bytes()), now, Forgery::None);
    fs::write(house.file("anchor/5.tsa.tsr"), token).unwrap();
    open.round().await;
    let error = open.error().await;
    assert!(error.contains("anchor/5.tsa.tsr") && error.contains("move it away"), "{error}");
    open.anchorer.take_stock().await.unwrap();
    assert_eq!(open.standing().await.entries, 0);
    open.grow(1).await;
    house.pass(61);
    open.round().await;
    assert_eq!(open.standing().await.entries, 6);
}

/// A request for a token over these bytes: only hash and nonce are looked at.
fn query(checkpoint: &[u8]) -> Vec<u8> {
    let mut query = vec![0; 69];
    query[24..56].copy_from_slice(callvault::base::digest::Digest::of(checkpoint).as_bytes());
    query[58..66].copy_from_slice(&[0x41; 8]);
    query
}

/// What `callvault status` says.
async fn status(house: &House) -> String {
    let file = house.folder.path().join("callvault.toml");
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_callvault")).args(["status", "--config"]).arg(file).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The keys, hashes and ways to name the signer that authorities use.
#[test]
fn the_time_stamps_of_openssl_are_believed_and_no_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let checkpoint: &[u8] = b"a checkpoint";
    fs::write(dir.join("data"), checkpoint).unwrap();
    let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    for (number, (key, digest, ess)) in [
        (rsa, "sha256", "sha1"),
        (rsa, "sha384", "sha256"),
        (rsa, "sha512", "sha512"),
        (curve, "sha256", "sha256"),
        (curve, "sha384", "sha384"),
    ]
    .into_iter()
    .enumerate()
    {
        let ca = issue(dir, &key);
        let config = format!(
            "[tsa]\nserial = {0}/serial\nsigner_cert = {0}/tsa.pem\nsigner_key = {0}/tsa.key\nsigner_digest = {digest}\n\
             default_policy = 1.2.3.4.1\ndigests = sha256\naccuracy = secs:1\nordering = yes\ntsa_name = yes\n\
             ess_cert_id_alg = {ess}\ncerts = {0}/ca.pem\n",
            dir.display()
        );
        fs::write(dir.join("config"), config).unwrap();
        fs::write(dir.join("serial"), "01").unwrap();
        openssl(dir, &["ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "query"]);
        let reply =
            ["ts", "-reply", "-section", "tsa", "-queryfile", "query", "-out", "reply", "-config", "config"];
        openssl(dir, &reply);
        let (reply, roots, now) =
            (fs::read(dir.join("reply")).unwrap(), Roots::from_pem(&ca), callvault::base::clock::now());
        let entry = format!("{{\"at\":\"{now}\"}}");
        let last_entry = entry.as_bytes();
        let judge = |reply: &[u8], checkpoint: &[u8], roots: Option<&Roots>| {
            Evidence { reply, checkpoint, last_entry, roots, now }.judge()
        };
        assert_eq!(judge(&reply, checkpoint, Some(&roots)).1, Ok(()), "{number}: {digest} {ess}");
        assert!(judge(&reply, b"another", Some(&roots)).1.is_err());
        assert!(judge(&reply, checkpoint, None).1.is_err());
        let other = Roots::from_pem(&signing::pem(signing::ca().der()));
        assert!(judge(&reply, checkpoint, Some(&other)).1.is_err());
        // Whatever is bent, nothing else is ever believed to have been signed.
        let (at, _) = judge(&reply, checkpoint, Some(&roots));
        let mut refused = 0;
        for place in 0..reply.len() {
            let mut bent = reply.clone();
            bent[place] ^= 1;
            match judge(&bent, checkpoint, Some(&roots)) {
                (time, Ok(())) => assert_eq!(time, at, "byte {place}"),
                (_, Err(_)) => refused += 1,
            }
        }
        assert!(refused > reply.len() / 3, "{number}: {refused} of {}", reply.len());
    }
}

/// A CA, and a certificate for time stamps with such a key; the CA's certificate.
fn issue(dir: &Path, key: &[&str]) -> String {
    let extensions = "basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
                      extendedKeyUsage = critical,timeStamping\nsubjectKeyIdentifier = hash\n";
    fs::write(dir.join("extensions"), extensions).unwrap();
    fs::write(dir.join("req"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    for name in ["ca.key", "tsa.key"] {
        openssl(dir, &[&["genpkey"], key, &["-out", name]].concat());
    }
    let ca = [
        "req", "-config", "req", "-x509", "-key", "ca.key", "-subj", "/CN=CA", "-days", "36500", "-out",
        "ca.pem",
    ];
    openssl(dir, &[&ca[..], &["-addext", "basicConstraints=critical,CA:TRUE"]].concat());
    openssl(
        dir,
        &["req", "-config", "req", "-new", "-key", "tsa.key", "-subj", "/CN=TSA", "-out", "tsa.csr"],
    );
    let sign = ["x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(dir, &[&sign[..], &["-days", "36500", "-extfile", "extensions", "-out", "tsa.pem"]].concat());
    fs::read_to_string(dir.join("ca.pem")).unwrap()
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
