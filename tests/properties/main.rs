//! Whatever the input, the chain, the batches, the fleet and the broker's mood: a program gives what
//! the same program over plain iterators gives.

mod fleet;
mod operations;
mod program;

use proptest::{prelude::*, test_runner::Config};

use crate::{fleet::Fleet, program::Program};

/// Each case starts workers, so they are few; `PROPTEST_CASES` asks for more.
fn cases(few: u32) -> Config {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default().cases,
        None => few,
    };
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_program_gives_what_plain_iterators_give(
        program in program::programs(3_000),
        fleet in fleet::well(),
    ) {
        check(&program, &fleet)?;
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_broker_that_misbehaves_changes_no_result(
        program in program::programs(400),
        fleet in fleet::misbehaving(),
    ) {
        check(&program, &fleet)?;
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn workers_that_die_change_no_result(
        program in program::programs(3_000),
        fleet in fleet::dying(),
    ) {
        check(&program, &fleet)?;
    }
}

fn check(program: &Program, fleet: &Fleet) -> Result<(), TestCaseError> {
    let actual = fleet.run(program).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    program.check(actual).map_err(TestCaseError::fail)
}
