//! The leader: composes the program, runs it and prints the result.
#![allow(clippy::print_stdout, reason = "it prints the greeting")]

use hello_ops::{Concat, Shout};
use phalanx::prelude::*;

#[tokio::main]
async fn main() -> Result<(), phalanx::Error> {
    let runtime = Runtime::from_env().await?;
    let greeting =
        IndexedStream::from("hello, world!".chars()).map(Shout).fold(Concat).run(&runtime).await?;
    runtime.close().await;
    println!("{greeting}");
    Ok(())
}
