//! SIGHUP: a valid configuration is taken without a restart; an invalid one is told, and the old one stays.

use rustix::process::Signal;

use super::{ARCHIVED, other_pbx};
use crate::support::program::{Folder, Pbx, eventually};
use crate::support::supervisor::{Report, Service};

/// Sends SIGHUP and waits until the reload is over; its two reports.
pub(crate) fn reload(service: &mut Service) -> (Report, Report) {
    let before = service.reports().len();
    service.signal(Signal::HUP);
    let reloading = service.until_after(before, "RELOADING", |value| value == "1");
    let ready = service.until_after(reloading, "READY", |value| value == "1");
    let reports = service.reports();
    (reports[reloading - 1].clone(), reports[ready - 1].clone())
}

#[test]
fn a_pbx_that_is_added_is_followed_without_a_restart() {
    let (hq, branch) = (Pbx::with(3), other_pbx(4));
    let folder = Folder::for_pbx(&hq.url());
    let mut service = Service::ready(&folder);
    eventually("the first is archived", || folder.number(ARCHIVED) == 3);
    folder.add_pbx("branch", &branch.url(), "");
    let (reloading, _) = reload(&mut service);
    let at = reloading.get("MONOTONIC_USEC").expect("systemd wants to know when");
    assert!(at.parse::<u64>().is_ok_and(|at| at > 0), "{at}");
    eventually("the second is archived too", || folder.number(ARCHIVED) == 7);
    service.stop().0.exits(0);
}

#[test]
fn an_invalid_configuration_is_refused_with_all_its_mistakes() {
    let (hq, branch) = (Pbx::slow(40), other_pbx(2));
    let folder = Folder::for_pbx(&hq.url());
    let valid = std::fs::read_to_string(folder.config()).unwrap();
    let mut service = Service::ready(&folder);
    folder.add_pbx("branch", &branch.url(), "concurrency = 99\ncolour = 1");
    let (_, ready) = reload(&mut service);
    let status = ready.get("STATUS").expect("it says what became of it");
    assert!(status.contains("refused"), "{status}");
    for mistake in ["pbx.concurrency = 99", "colour"] {
        eventually("the mistake is told", || service.so_far().contains(mistake));
    }
    eventually("the old one goes on", || folder.number(ARCHIVED) == 40);
    assert_eq!(branch.counters().requests, 0);

    folder.edit(|_| valid);
    folder.add_pbx("branch", &branch.url(), "");
    let (_, ready) = reload(&mut service);
    assert!(ready.get("STATUS").is_none_or(|status| !status.contains("refused")), "{ready:?}");
    eventually("the mended one is taken", || folder.number(ARCHIVED) == 42);
    service.stop().0.exits(0);
}

#[test]
fn a_configuration_that_is_gone_is_refused_too() {
    let hq = Pbx::with(2);
    let folder = Folder::for_pbx(&hq.url());
    let mut service = Service::ready(&folder);
    std::fs::rename(folder.config(), folder.path("away")).unwrap();
    let (_, ready) = reload(&mut service);
    assert!(ready.get("STATUS").is_some_and(|status| status.contains("refused")), "{ready:?}");
    eventually("the old one goes on", || folder.number(ARCHIVED) == 2);
    service.stop().0.exits(0);
}
