//! Inputs that wait, block or panic harm neither other jobs nor the end of the program.

use std::sync::mpsc::{Receiver, Sender, channel};

use phalanx::{Error, Runtime, prelude::*};
use phalanx_test_support::soon;

#[operation]
fn raise(n: u64) -> u64 {
    n * n
}

/// Numbers that are received from a channel, which blocks.
fn received() -> (Sender<u64>, impl Iterator<Item = u64> + Send + 'static) {
    let (sender, receiver): (Sender<u64>, Receiver<u64>) = channel();
    (sender, receiver.into_iter())
}

/// Tokio waits at its end for the threads of its own pool.
#[test]
fn a_program_ends_although_an_iterator_waits() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let (numbers, waiting) = received();
    let first = tokio.block_on(async {
        let runtime = Runtime::connect("memory://").await.unwrap();
        numbers.send(7).unwrap();
        let first = IndexedStream::from(waiting).map(Raise).first().run(&runtime).await.unwrap();
        runtime.close().await;
        first
    });
    assert_eq!(first, Some(49));
    let (ended, end) = channel();
    std::thread::spawn(move || {
        drop(tokio);
        ended.send(()).unwrap();
    });
    end.recv_timeout(std::time::Duration::from_secs(60)).expect("Tokio ends");
    drop(numbers);
}

/// More than Tokio's pool has threads.
#[tokio::test]
async fn hundreds_of_iterators_that_wait_keep_no_other_job_from_running() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..600 {
        let (numbers, iterator) = received();
        let started = IndexedStream::from(iterator).map(Raise).count().start(&runtime).unwrap();
        waiting.push((numbers, started));
    }
    let squares = IndexedStream::from(0..100u64).map(Raise).collect(&runtime);
    assert_eq!(soon("another job", squares).await.unwrap()[9], 81);
    runtime.close().await;
}

/// Panics or blocks when it is dropped.
struct Stubborn(Option<Receiver<()>>);

impl Drop for Stubborn {
    fn drop(&mut self) {
        match &self.0 {
            Some(held) => drop(held.recv()),
            None => panic!("stubborn"),
        }
    }
}

#[tokio::test]
async fn an_input_whose_drop_panics_or_blocks_ends_no_other_job() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let (release, held) = channel();
    for stubborn in [Stubborn(None), Stubborn(Some(held))] {
        let endless = (0u64..).inspect(move |_| {
            let _kept = &stubborn;
        });
        let first = IndexedStream::from(endless).map(Raise).first().run(&runtime);
        assert_eq!(soon("the first", first).await.unwrap(), Some(0));
    }
    let stubborn = Stubborn(None);
    let never = futures::stream::poll_fn(move |_| {
        let _kept = &stubborn;
        std::task::Poll::<Option<u64>>::Pending
    });
    let (job, count) =
        IndexedStream::from_stream(never).map(Raise).count().start(&runtime).unwrap();
    job.cancel();
    assert!(matches!(soon("the end", count).await, Err(Error::Cancelled { .. })));
    let squares = IndexedStream::from(0..100u64).map(Raise).collect(&runtime);
    assert_eq!(soon("another job", squares).await.unwrap()[9], 81);
    runtime.close().await;
    drop(release);
}
