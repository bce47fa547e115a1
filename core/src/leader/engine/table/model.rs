//! Compares the task table with a naive model: random steps have the same effect on both.

use proptest::prelude::*;

use super::{
    tests::{NOW, at, job, leased, task, worker},
    *,
};

/// A step of the property test. Tasks are chosen among all that ever were, live or retired.
#[derive(Debug, Clone)]
enum Step {
    Insert {
        job: u8,
        stage: usize,
        size: u8,
        until: u8,
    },
    /// All tasks whose back-off is over at this time become due.
    Elapse(u8),
    Publish {
        choice: usize,
        output: usize,
    },
    Lease {
        choice: usize,
        attempt: u32,
        output: usize,
    },
    /// A copy is removed; its task waits if it was the last one.
    RemoveCopy {
        choice: usize,
        attempt: u32,
        until: u8,
    },
    Retire {
        choice: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (choice, attempt, output) = (0..64_usize, 0..4_u32, 0..9_usize);
    let step = prop_oneof![
        3 => (0..2_u8, 0..2_usize, 0..9_u8, 0..9_u8)
            .prop_map(|(job, stage, size, until)| Step::Insert { job, stage, size, until }),
        2 => (0..9_u8).prop_map(Step::Elapse),
        4 => (choice.clone(), output.clone())
            .prop_map(|(choice, output)| Step::Publish { choice, output }),
        3 => (choice.clone(), attempt.clone(), output)
            .prop_map(|(choice, attempt, output)| Step::Lease { choice, attempt, output }),
        3 => (choice.clone(), attempt, 0..9_u8)
            .prop_map(|(choice, attempt, until)| Step::RemoveCopy { choice, attempt, until }),
        1 => choice.prop_map(|choice| Step::Retire { choice }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// The expected content of the table, without indexes.
#[derive(Debug, Default)]
struct Model {
    live: BTreeMap<TaskNumber, ModelTask>,
    ever: Vec<TaskNumber>,
}

#[derive(Debug)]
struct ModelTask {
    job: JobId,
    stage: usize,
    size: usize,
    /// `None` once the back-off is over, or the task is out.
    until: Option<Duration>,
    charge: Option<Charge>,
    attempt: u32,
    copies: BTreeSet<u32>,
}

impl Model {
    fn choose(&self, choice: usize) -> TaskNumber {
        self.ever.get(choice % self.ever.len().max(1)).copied().unwrap_or(TaskNumber(1))
    }

    fn take(&mut self, table: &mut TaskTable, step: &Step) {
        match *step {
            Step::Insert { job: of, stage, size, until } => {
                let number = table.insert(task(job(of), stage, size), at(until));
                assert!(self.ever.iter().all(|earlier| *earlier < number), "numbers grow");
                self.ever.push(number);
                let task = ModelTask {
                    job: job(of),
                    stage,
                    size: size.into(),
                    until: Some(at(until)),
                    charge: None,
                    attempt: 0,
                    copies: BTreeSet::new(),
                };
                self.live.insert(number, task);
            }
            Step::Elapse(now) => {
                let mut expected: Vec<_> = self
                    .live
                    .iter()
                    .filter_map(|(number, task)| Some((task.until?, *number)))
                    .filter(|(until, _)| *until <= at(now))
                    .collect();
                expected.sort_unstable();
                for (_, number) in expected {
                    assert_eq!(table.pop_ready(at(now)), Some(number), "the earliest is first");
                    self.live.get_mut(&number).unwrap().until = None;
                }
                assert_eq!(table.pop_ready(at(now)), None);
            }
            Step::Publish { choice, output } => {
                let number = self.choose(choice);
                // The engine publishes copies of tasks that are not out.
                let task = self.live.get_mut(&number).filter(|task| task.charge.is_none());
                let Some(task) = task else { return };
                let charge = Charge { input: task.size, output };
                assert!(table.add_copy(number, charge));
                task.attempt += 1;
                task.copies.insert(task.attempt);
                (task.charge, task.until) = (Some(charge), None);
            }
            Step::Lease { choice, attempt, output } => {
                let copy = CopyId::new(self.choose(choice), attempt);
                let change = table.lease(&leased(copy, 0), worker(), NOW, |task| Charge {
                    input: task.size(),
                    output,
                });
                let task = self.live.get_mut(&copy.task);
                match task.filter(|task| (1..=task.attempt).contains(&attempt)) {
                    None => assert_eq!(change, None, "there is no such copy"),
                    Some(task) => {
                        let charged = change.unwrap().charge;
                        assert_eq!(charged.is_some(), task.charge.is_none(), "charged once");
                        task.charge = task.charge.or(charged);
                        task.until = None;
                        task.copies.insert(attempt);
                    }
                }
            }
            Step::RemoveCopy { choice, attempt, until } => {
                let copy = CopyId::new(self.choose(choice), attempt);
                let was_last = table.remove_copy(copy);
                let task = self.live.get_mut(&copy.task);
                let Some(task) = task.filter(|task| task.copies.contains(&attempt)) else {
                    return assert!(!was_last, "there was no such copy");
                };
                task.copies.remove(&attempt);
                assert_eq!(was_last, task.copies.is_empty());
                if was_last {
                    assert_eq!(table.wait(copy.task, at(until)), task.charge.take());
                    task.until = Some(at(until));
                }
            }
            Step::Retire { choice } => {
                let number = self.choose(choice);
                let charge = table.retire(number).map(|(_, charge)| charge);
                assert_eq!(charge, self.live.remove(&number).map(|task| task.charge));
            }
        }
    }

    fn check(&self, table: &TaskTable) {
        table.check();
        let listed = |wanted: &dyn Fn(&ModelTask) -> bool| {
            let matching = self.live.iter().filter(|(_, task)| wanted(task));
            matching.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        for number in &self.ever {
            let (task, expected) = (table.get(*number), self.live.get(number));
            assert_eq!(task.is_some(), expected.is_some(), "{number} is live or not");
            let (Some(task), Some(expected)) = (task, expected) else { continue };
            let copies: BTreeSet<u32> = task.copies().iter().map(|copy| copy.attempt).collect();
            assert_eq!((task.attempt(), &copies), (expected.attempt, &expected.copies));
            assert_eq!(task.is_out(), expected.charge.is_some());
        }
        for job in [job(0), job(1)] {
            let numbers: Vec<_> = table.of(job).map(|(number, _)| number).collect();
            assert_eq!(numbers, listed(&|task| task.job == job));
            for stage in 0..2 {
                let due = listed(&|task| {
                    let place = (task.job, task.stage) == (job, stage);
                    place && task.until.is_none() && task.charge.is_none()
                });
                assert_eq!(table.due(job, stage).next(), due.first().copied());
            }
        }
    }
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_simple_model(steps in steps()) {
        let (mut table, mut model) = (TaskTable::default(), Model::default());
        for step in &steps {
            model.take(&mut table, step);
            model.check(&table);
        }
    }
}
