//! Random programs, on random fleets and faulty brokers, yield the same results as over plain
//! iterators.

mod fleet;
mod operations;
mod program;

use proptest::{prelude::*, test_runner::Config};

use crate::{fleet::Fleet, program::Program};

/// Each case starts workers, so the default is low; `PROPTEST_CASES` sets another number.
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
    fn a_program_yields_what_plain_iterators_yield(
        program in program::programs(3_000),
        fleet in fleet::healthy(),
    ) {
        check(&program, &fleet)?;
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_faulty_broker_changes_no_result(
        program in program::programs(400),
        fleet in fleet::faulty(),
    ) {
        check(&program, &fleet)?;
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn dying_workers_change_no_result(
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
