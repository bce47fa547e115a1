//! Starts a private node, prints where it listens and where its data is, and waits to be killed:
//! the process that the test of the watchdog kills.
#![allow(clippy::print_stdout, reason = "it tells the test what to look at")]

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
