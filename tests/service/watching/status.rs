//! The page of `callvault status`.

use callvault::cli::status_page;
use callvault::store::findings::FindingKind;

use super::fixture::Watched;

async fn page(watched: &Watched, in_full: bool) -> String {
    let text = status_page::of(&watched.status().await, in_full);
    // The room on this machine's disk is another one each time.
    let lines = text.lines().map(|line| match line.strip_prefix("archive ") {
        Some(rest) => format!("archive {}", rest.split(", ").next().unwrap()),
        None => line.to_owned(),
    });
    watched.redact(&lines.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn one_pbx_that_is_well_is_told_in_full() {
    let watched = Watched::with(&["hq"], "").await;
    watched.queues("hq", "pending", "", 2).await;
    watched.pass(30);
    insta::assert_snapshot!(page(&watched, false).await, @r"
    1 PBX, all well.
    archive DIR/archive

    hq
      its calls were last read completely 30 min ago (2026-03-02 09:00 UTC)
      2 recordings listed: 2 pending
      the oldest recording not archived yet was made 33 h ago (2026-03-01 00:01 UTC)
      the oldest recording not archived yet is overwritten in about 178 days
      0 calls, 0 of them answered without a recording
      2 pending (waiting): not asked for yet, such as pending-00001.wav
        What to do: run the backfill again.
    ");
}

#[tokio::test]
async fn those_that_need_a_person_come_first_and_the_others_take_a_line() {
    let watched = Watched::with(&["hq", "lima", "lyon", "oslo", "paris"], "").await;
    watched.breaks("lyon", "password_refused", "pbx `lyon`: user or password refused; correct them").await;
    watched.pass(90);
    watched.queues("oslo", "stuck", "json_body", 12).await;
    watched.queues("hq", "missing", "missing", 1).await;
    watched.finds("paris", FindingKind::CdrShrank, "2026-02-27", "9 rows instead of 10").await;
    insta::assert_snapshot!(page(&watched, false).await, @r"
    2 of 5 PBXs need you: lyon (password refused), oslo (12 stuck).
    archive DIR/archive

    lyon
      WRONG: pbx `lyon`: user or password refused; correct them; it began 90 min ago (2026-03-02 09:00 UTC)
      its calls were last read completely 90 min ago (2026-03-02 09:00 UTC)
      0 recordings listed: none yet
      0 calls, 0 of them answered without a recording

    oslo
      its calls were last read completely 90 min ago (2026-03-02 09:00 UTC)
      12 recordings listed: 12 stuck
      the oldest recording not archived yet was made 34 h ago (2026-03-01 00:01 UTC)
      the oldest recording not archived yet is overwritten in about 178 days
      0 calls, 0 of them answered without a recording
      12 stuck (json_body): the PBX sent something else instead of audio, such as stuck-00001.wav
        What to do: run the backfill again; to ask at once for what is stuck, run `callvault retry --stuck`.

    well:
      hq     1 missing; read 90 min ago
      lima   none yet; read 90 min ago
      paris  none yet; read 90 min ago
    ");
}

#[tokio::test]
async fn sixty_pbxs_fit_on_a_page() {
    let ids: Vec<String> = (1..=60).map(|number| format!("site-{number:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let watched = Watched::with(&ids, "").await;
    for id in &ids[..7] {
        watched.breaks(id, "unreachable", "pbx: no answer; check the network").await;
    }
    let text = page(&watched, false).await;
    insta::assert_snapshot!(text.lines().next().unwrap(), @"7 of 60 PBXs need you: site-01 (unreachable), site-02 (unreachable), site-03 (unreachable), site-04 (unreachable), site-05 (unreachable), and 2 more.");
    assert!(text.lines().count() < 60 + 7 * 6, "{text}");
}

#[tokio::test]
async fn the_archive_speaks_first() {
    let watched = Watched::with(&["hq"], "").await;
    std::fs::remove_file(watched.config.archive.path.join("hq/.callvault")).unwrap();
    insta::assert_snapshot!(page(&watched, false).await.lines().take(3).collect::<Vec<_>>().join("\n"), @r"
    The archive needs you (not mounted); no PBX does.
    archive DIR/archive
      WRONG: DIR/archive does not hold the archive of pbx `hq`: mount it or correct `[archive] path`; callvault archives nothing until then
    ");
}
