//! What the PBX listed of a day against what became of it, and the certificate of that.

use crate::common::Station;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let mut station = Station::new(20).await;
    station.backfill().await;
    station.backfill().await;
    for (path, _) in station.files() {
        println!("{path}");
    }
    let day = station.path_of("certificate-1.json");
    println!("{}", std::fs::read_to_string(&day).unwrap());
    std::fs::copy(day.with_file_name("certificate-1.html"), "/tmp/cert.html").unwrap();
    station.check().await;
}
