//! What to do about a finding.

/// What to do about a finding of this kind about `pbx`.
pub fn of_finding(kind: &str, pbx: &str) -> String {
    let seen = format!("`callvault retry --pbx {pbx}`");
    match kind {
        "serial_number_changed" => format!(
            "if the device was replaced, confirm it with {seen}; else correct `url`, for another PBX answers there"
        ),
        "store_offline" => "check the PBX's card, disk or network share for recordings".to_owned(),
        "conflict" => format!("both files are kept: compare them, then note with {seen} that you have"),
        "offset_disagrees" => "correct `timezone`, or the PBX's clock".to_owned(),
        "bad_file" => "mend the file, or remove it from `cdr_folder`".to_owned(),
        "bad_message" => {
            "look at the messages of that box on the PBX: the caller's name of one breaks its list".to_owned()
        }
        "bad_row" => {
            "see the line in the list, or the call on the PBX: a recording that only it names is not known. If the list was cut \
             off or edited, export it again"
                .to_owned()
        },
        "file_missing" | "file_altered" => {
            "restore it from a backup; the next verification sees that it is well again".to_owned()
        }
        "day_incomplete" => format!(
            "see its page; if they were deleted on the PBX, or its store was offline, nobody can bring them back: note with \
             {seen} that you have seen it"
        ),
        "day_does_not_sum" => {
            "the database contradicts itself: see the page, and restore the state from a backup".to_owned()
        }
        "not_rebuilt" => format!(
            "restore it from a backup and run `callvault rebuild` again, with `--vkey KEY` where you have the ledger's key from \
             elsewhere; else note with {seen} that you know"
        ),
        "found" => format!(
            "if you know that it is the recording, take it with `callvault accept NAME --reason \"…\"`; else move it away, and \
             run {seen}"
        ),
        "quarantined" => format!("see what was moved, then note with {seen} that you have"),
        kind => of_lists(kind, pbx)
            .or_else(|| of_coverage(kind, pbx))
            .unwrap_or_else(|| format!("look into it, then note with {seen} that you have")),
    }
}

/// What leaves it open whether a list of calls is whole.
fn of_lists(kind: &str, pbx: &str) -> Option<String> {
    Some(match kind {
        "limit_suspected" => {
            "nothing while its days are read whole: callvault asks for shorter stretches of time. If days stay open, export \
             the CDR from the PBX's web interface and read it with `callvault backfill --cdr FILE`"
                .to_owned()
        }
        "doubts_open" => format!(
            "see those rows on the PBX, for a recording that only such a row names is not known: correct them there, or \
             read an export with `callvault backfill --pbx {pbx} --cdr FILE`"
        ),
        "day_unread" => format!(
            "see the log for what the PBX answers for that day; if a restart of the PBX does not help, export the day from \
             its web interface and read it with `callvault backfill --pbx {pbx} --cdr FILE`"
        ),
        "intake_slowed" => format!(
            "if pbx `{pbx}` really has so many calls, raise the key that the finding names; if not, find out what answers in its \
             place; if the disk is full, make room"
        ),
        "clock_skewed" => "set the PBX's clock, best by a time server; no recording is lost meanwhile".to_owned(),
        "clock_jumped" => {
            "let the PBX take its time from a time server; the days around the jump are read again by themselves".to_owned()
        }
        "own_clock" => {
            "let this machine take its time from a time server, such as by chrony or systemd-timesyncd".to_owned()
        }
        _ => return None,
    })
}

/// What callvault cannot archive, for it was never recorded or listed.
fn of_coverage(kind: &str, pbx: &str) -> Option<String> {
    let seen = format!("`callvault retry --pbx {pbx}`");
    Some(match kind {
        "must_record" => format!(
            "see on the PBX whether recording is switched on for them, and whether it had room; nobody can bring those \
             calls back: note with {seen} that you have seen it"
        ),
        "recording_stopped" => format!(
            "see on the PBX whether recording is still switched on for them, and whether it has room; if you want it so, \
             note that with {seen}. It is over by itself when such calls are recorded again"
        ),
        "silent_day" => format!(
            "if it was a holiday, or nobody called, note that with {seen}; else see on the PBX why it listed no call"
        ),
        "calls_stopped" => format!(
            "if nobody calls there at present, note that with {seen}; else see on the PBX whether it still writes its CDR, \
             and whether its trunks work. It is over by itself with the next call"
        ),
        "event_without_row" => {
            "see that call on the PBX, and whether its CDR has it; it is over by itself when the CDR does"
                .to_owned()
        }
        "same_audio" => format!(
            "listen to both: the PBX gave one recording for two calls, so that the audio of one of them may be lost. Both \
             files are kept; note with {seen} that you have"
        ),
        "one_sided" => format!(
            "listen to it: one side of the conversation is silent. See the trunk and the network between it and the PBX, \
             then note with {seen} that you have"
        ),
        _ => return None,
    })
}
