//! Panics inside and outside of operations. A separate program, because a panic hook is global to
//! its process.

use std::sync::atomic::{AtomicU32, Ordering};

use phalanx_core::{
    operation,
    operation::{ErrorKind, TaskContext},
    registry::{Column, Registry, Verb},
};

static PRINTED: AtomicU32 = AtomicU32::new(0);

#[operation(crate = phalanx_core)]
fn explode(n: u32) -> u32 {
    if n == 7 {
        std::thread::spawn(|| panic!("on a separate thread")).join().unwrap_err();
        return n;
    }
    panic!("inside: {n}")
}

#[test]
fn a_panic_of_an_operation_is_reported_not_printed_and_others_are_printed_as_before() {
    std::panic::set_hook(Box::new(|_| {
        PRINTED.fetch_add(1, Ordering::Relaxed);
    }));
    let registry = Registry::global().unwrap();
    let (reference, _) = registry.reference(&Explode, Verb::Map).unwrap();
    let step = registry.compile(&reference).unwrap();
    let mut failures = Vec::new();
    let cx = TaskContext::detached();

    step.run(Column::new(vec![1u32, 2], vec![0, 1]), &cx, &mut failures);
    let texts: Vec<&str> = failures.iter().map(|failure| failure.error.message()).collect();
    assert_eq!(failures[0].error.kind(), ErrorKind::Panic);
    assert!(texts[0].ends_with(": inside: 1") && texts[1].ends_with(": inside: 2"), "{texts:?}");
    assert!(texts[0].contains("panicked at core/tests/panic_hook.rs:"), "{texts:?}");
    assert_eq!(PRINTED.load(Ordering::Relaxed), 0);

    let output = step.run(Column::new(vec![7u32], vec![0]), &cx, &mut failures);
    assert_eq!(output.len(), 1);
    assert_eq!(PRINTED.load(Ordering::Relaxed), 1, "no operation runs on that thread");

    std::panic::catch_unwind(|| panic!("outside")).unwrap_err();
    assert_eq!(PRINTED.load(Ordering::Relaxed), 2);
    let _ = std::panic::take_hook();
}
