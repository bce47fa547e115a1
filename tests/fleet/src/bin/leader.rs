//! A leader in a separate process, with one job whose operations a test holds.

use phalanx::{Runtime, prelude::*};
use phalanx_fleet_tests::Hold;

#[tokio::main]
async fn main() -> Result<(), phalanx::Error> {
    phalanx_fleet_tests::end_with_the_test();
    let directory = std::env::args().nth(1).expect("the argument is a directory");
    let runtime = Runtime::builder()
        .close_on_signal()
        .stall_after(std::time::Duration::from_secs(1))
        .connect()
        .await?;
    let values = IndexedStream::from(0..20u64).map(Hold { directory }).batch(1).collect(&runtime);
    values.await.map(drop)
}
