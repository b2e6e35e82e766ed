//! What a PBX speaks: archived where it can be understood, and a remedy where it cannot.

use callvault::base::digest::Digest;
use callvault::config::PbxConfig;
use callvault::pipeline::backfill::BackfillReport;

use super::server::{Identity, Language, TlsServer};
use crate::support::station::Station;

/// A station whose PBX stands behind a server that speaks this language.
async fn behind(identity: &Identity, language: Language) -> (Station, TlsServer) {
    let mut station = Station::new(4).await;
    let server = TlsServer::before(station.pbx.address(), identity, language);
    station.section().url = server.url().parse().unwrap();
    station.section().tls_pin_sha256 = Some(identity.key());
    (station, server)
}

/// Why the PBX was given up, and in which words.
async fn refusal(station: &mut Station) -> (String, String) {
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 4);
    let error = report.pbx["hq"].error.as_ref().unwrap();
    assert_eq!(station.pbx.counters().connections, 0, "nothing reaches the PBX");
    (error.reason.clone(), error.message.clone())
}

async fn archives_everything(mut station: Station) {
    let report: BackfillReport = station.backfill().await;
    assert_eq!((report.total.listed(), report.total.archived), (4, 4), "{report:?}");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rustls_archives_what_speaks_as_servers_do_today() {
    let (station, _server) = behind(&Identity::of_appliance(2048), Language::Ecdhe).await;
    archives_everything(station).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_rustls_is_not_understood_the_error_names_openssl() {
    let identity = Identity::of_appliance(2048);
    for language in [Language::StaticRsa, Language::Tls10] {
        let (mut station, _server) = behind(&identity, language).await;
        let (reason, message) = refusal(&mut station).await;
        assert_eq!(reason, "tls_handshake", "{language:?}: {message}");
        let remedy = match cfg!(feature = "legacy-tls") {
            true => "set `tls_backend = \"openssl\"`, which this callvault has",
            false => "set `tls_backend = \"openssl\"`, but this callvault was built without OpenSSL: install",
        };
        assert!(message.contains(remedy), "{language:?}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_than_the_pinned_one_is_told_nothing() {
    use_each_backend(async |change| {
        let (mut station, _server) = behind(&Identity::of_appliance(2048), Language::Ecdhe).await;
        change(station.section());
        station.section().tls_pin_sha256 = Some(Digest::of("another"));
        let (reason, message) = refusal(&mut station).await;
        assert_eq!(reason, "tls_pin_mismatch", "{message}");
        assert!(message.contains("run `callvault trust hq`"), "{message}");
    })
    .await;
}

/// Runs a scenario with each backend that this build has.
async fn use_each_backend(scenario: impl AsyncFn(fn(&mut PbxConfig))) {
    scenario(|_| {}).await;
    #[cfg(feature = "legacy-tls")]
    scenario(|section| section.tls_backend = callvault::config::TlsBackend::OpenSsl).await;
}

#[cfg(feature = "legacy-tls")]
mod with_openssl {
    use callvault::config::{TlsBackend, TlsVersion};
    use callvault::simulator::{Faults, SimulatorOptions};

    use super::*;
    use crate::support::station::small;

    #[tokio::test(flavor = "multi_thread")]
    async fn openssl_archives_from_all_of_them() {
        let identity = Identity::of_appliance(2048);
        for (language, version_min) in [
            (Language::Ecdhe, TlsVersion::V1_2),
            (Language::StaticRsa, TlsVersion::V1_2),
            (Language::StaticRsa, TlsVersion::V1_0),
            (Language::Tls10, TlsVersion::V1_0),
        ] {
            let (mut station, _server) = behind(&identity, language).await;
            station.section().tls_backend = TlsBackend::OpenSsl;
            station.section().tls_version_min = version_min;
            archives_everything(station).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_short_key_of_an_old_appliance_will_do() {
        let (mut station, _server) = behind(&Identity::of_appliance(1024), Language::StaticRsa).await;
        station.section().tls_backend = TlsBackend::OpenSsl;
        archives_everything(station).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tls_1_0_is_spoken_only_where_it_is_configured_in_words() {
        let (mut station, _server) = behind(&Identity::of_appliance(2048), Language::Tls10).await;
        station.section().tls_backend = TlsBackend::OpenSsl;
        let (reason, message) = refusal(&mut station).await;
        assert_eq!(reason, "tls_handshake", "{message}");
        assert!(message.contains("set `tls_version_min = \"1.0\"`"), "{message}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn faults_and_large_files_pass_through_openssl_as_they_are() {
        let mut station = Station::of(SimulatorOptions { size_bytes: (300_000, 300_000), ..small(16) }).await;
        let identity = Identity::of_appliance(2048);
        let server = TlsServer::before(station.pbx.address(), &identity, Language::StaticRsa);
        station.section().url = server.url().parse().unwrap();
        station.section().tls_pin_sha256 = Some(identity.key());
        station.section().tls_backend = TlsBackend::OpenSsl;
        station.set_faults(Faults { reset: 0.2, truncate: 0.2, ..Faults::default() });
        let first = station.backfill().await.total;
        assert!(station.pbx.counters().faults.values().sum::<u64>() > 0);
        // stunnel sends whole records: two transfers that break off may be equal, which looks like a header that lies,
        // and waits for the next backfill.
        assert_eq!((first.listed(), first.archived + first.pending), (16, 16), "{first:?}");
        station.check().await;
        station.set_faults(Faults::default());
        let second = station.backfill().await;
        assert_eq!(second.total.already_archived + second.total.archived, 16, "{second:?}");
        assert_eq!(second.exit_code(false), 0, "{second:?}");
        station.check().await;
    }
}
