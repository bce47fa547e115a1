//! Deep recursion and deep data.

use phalanx_core::{
    Error,
    leader::Runtime,
    operation,
    operation::ErrorKind,
    plan::{IndexedStream, OnFailure},
};
use phalanx_inmemory as _;
use serde::{Deserialize, Serialize};

/// Uses a KiB of stack for each level.
fn recurse(levels: u32) -> u64 {
    let frame = std::hint::black_box([levels; 256]);
    let deeper = if levels > 0 { recurse(levels - 1) } else { 0 };
    deeper + u64::from(frame[levels as usize % 256] > 0)
}

#[operation(crate = phalanx_core)]
fn descend(levels: u32) -> u64 {
    recurse(levels)
}

#[derive(Debug, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

impl Chain {
    fn of(links: u32) -> Self {
        (0..links).fold(Self::End, |chain, _| Self::Link(Box::new(chain)))
    }
}

#[operation(crate = phalanx_core)]
fn make_chain(links: u32) -> Chain {
    Chain::of(links)
}

#[operation(crate = phalanx_core)]
fn take_chain(chain: Chain) -> bool {
    matches!(chain, Chain::Link(_))
}

#[tokio::test]
async fn a_blocking_operation_has_the_stack_of_a_main_thread() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let program = IndexedStream::from([3_000, 3_001]).map(Descend);
    assert_eq!(program.collect(&runtime).await.unwrap(), [3_000, 3_001]);
    runtime.close().await;
}

#[tokio::test]
async fn data_that_is_nested_too_deep_is_an_error_and_ends_no_process() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let chains = || IndexedStream::from([5, 10_000, 900]).map(MakeChain);
    let error = chains().collect(&runtime).await.unwrap_err();
    let Error::Execute(failure) = error else { panic!("{error}") };
    let (index, error) = (failure.index, &failure.error);
    assert_eq!(index, 1);
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("nested more than 1000 deep"), "{error}");
    let rest = chains().on_failure(OnFailure::Skip).collect(&runtime).await.unwrap();
    assert_eq!(rest.len(), 2);

    let inputs = IndexedStream::from([5, 10_000].map(Chain::of)).map(TakeChain);
    let Error::Input { index: 1, source, .. } = inputs.collect(&runtime).await.unwrap_err() else {
        panic!("another error")
    };
    assert!(source.to_string().contains("nested more than 1000 deep"), "{source}");
    runtime.close().await;
}
