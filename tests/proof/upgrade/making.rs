//! How the state was made: see `README.md` beside this file.

use std::path::Path;
use std::process::Command;

use super::house::{self, Version};
use crate::support::closing::until_closed;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the files that the other tests begin with, and only the version that they are named after may"]
async fn make() {
    let to =
        std::env::var("CALLVAULT_MADE_STATE").expect("CALLVAULT_MADE_STATE names a folder that is not there");
    let to = Path::new(&to);
    let mut station = house::new(Version::Before0_2).await;
    house::live(Version::Before0_2, &mut station).await;
    station.check().await;
    until_closed(&station.config.state.path).await;
    house::copy(station.archive(), &to.join("archive"), (0o755, 0o644));
    house::copy(&station.config.state.path, &to.join("state"), (0o755, 0o644));
    let packed = Command::new("gzip").arg("-9n").arg(to.join("state/callvault.db")).status().unwrap();
    assert!(packed.success());
}
