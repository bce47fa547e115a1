//! Starts a private node, prints its address and its data directory, and waits. The test of the
//! watchdog kills this process.
#![allow(clippy::print_stdout, reason = "the test reads its output")]

use std::error::Error;
use std::io::{Write, stdin, stdout};

use phalanx_test_node::{NodeOptions, PrivateNode};

fn main() -> Result<(), Box<dyn Error>> {
    let node = PrivateNode::start(&NodeOptions::new())?;
    println!("{}", node.address());
    println!("{}", node.data().display());
    stdout().flush()?;
    stdin().read_line(&mut String::new())?;
    Ok(())
}
