//! The promises of the task table, one by one.

use uuid::Uuid;

use super::*;
use crate::{
    broker::Pool,
    leader::engine::{
        flow::Lane,
        job::{Batch, Elements},
    },
};

pub(super) const NOW: Duration = Duration::ZERO;

pub(super) fn job(number: u8) -> JobId {
    JobId(Uuid::from_u128(number.into()))
}

pub(super) fn worker() -> WorkerId {
    WorkerId(Uuid::from_u128(1))
}

pub(super) fn at(seconds: u8) -> Duration {
    Duration::from_secs(seconds.into())
}

/// A task of one element of this size in bytes.
pub(super) fn task(job: JobId, stage: usize, size: u8) -> Task {
    let elements = Elements::pulled(0, vec![0; size.into()].into(), vec![size.into()]);
    let lane = Lane { pool: Pool::default(), is_async: false };
    Task::new(job, stage, lane, Work::Run { batch: Batch::Elements(elements), first_step: 0 })
}

pub(super) fn leased(copy: CopyId, offset: u32) -> LeasedTask {
    LeasedTask { copy, offset, in_process: false }
}

/// A task with one published copy, and its charge.
fn published(table: &mut TaskTable, size: u8, output: usize) -> (CopyId, Charge) {
    let number = table.insert(task(job(1), 0, size), NOW);
    assert_eq!(table.pop_ready(NOW), Some(number));
    let charge = Charge { input: size.into(), output };
    assert!(table.add_copy(number, charge));
    (CopyId::new(number, 1), charge)
}

#[test]
fn the_number_of_a_retired_task_is_not_used_again() {
    let mut table = TaskTable::default();
    let first = table.insert(task(job(1), 0, 1), NOW);
    assert!(table.retire(first).is_some());
    let second = table.insert(task(job(1), 0, 1), NOW);
    assert!(second > first, "{second} after {first}");
    assert!(table.retire(first).is_none(), "a task is retired once");
    table.check();
}

#[test]
fn a_charge_is_released_exactly_once() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    assert_eq!(charge, Charge { input: 3, output: 7 });
    assert!(table.remove_copy(copy));
    assert_eq!(table.wait(copy.task, NOW), Some(charge));
    assert_eq!(table.wait(copy.task, NOW), None, "the task is not out any more");
    let (_, charge) = table.retire(copy.task).unwrap();
    assert_eq!(charge, None);
    assert!(table.is_empty());
}

#[test]
fn the_charge_of_a_task_that_is_out_is_released_when_it_is_retired() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    let (task, returned) = table.retire(copy.task).unwrap();
    assert_eq!((task.attempt(), returned), (1, Some(charge)));
    assert!(table.is_empty());
}

#[test]
fn a_task_is_due_after_its_back_off_and_in_the_order_of_numbers() {
    let mut table = TaskTable::default();
    let late = table.insert(task(job(1), 0, 1), at(9));
    let early = table.insert(task(job(1), 0, 1), at(5));
    assert_eq!(table.pop_ready(at(4)), None);
    assert_eq!(table.due(job(1), 0).next(), None);
    assert_eq!((table.pop_ready(at(9)), table.pop_ready(at(9))), (Some(early), Some(late)));
    assert_eq!(table.due(job(1), 0).next(), Some(late), "the older task goes first");
    assert_eq!((table.due(job(1), 1).count(), table.due(job(2), 0).count()), (0, 0));
    table.check();
}

#[test]
fn a_lease_of_a_copy_that_was_removed_brings_the_waiting_task_out_again() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    assert!(table.remove_copy(copy));
    assert_eq!(table.wait(copy.task, at(60)), Some(charge));
    let charge = Charge { input: 3, output: 8 };
    let change = table.lease(&leased(copy, 0), worker(), NOW, |_| charge).unwrap();
    assert_eq!(change, LeaseChange { progressed: true, first: false, charge: Some(charge) });
    assert_eq!(table.pop_ready(at(60)), None, "no further copy is published");
    assert_eq!(table.get(copy.task).unwrap().attempt(), 1);
    table.check();
    let (_, returned) = table.retire(copy.task).unwrap();
    assert_eq!(returned, Some(charge));
}

#[test]
fn a_lease_of_a_copy_that_was_removed_does_not_charge_a_task_that_is_out_again() {
    let mut table = TaskTable::default();
    let (first, charge) = published(&mut table, 3, 7);
    assert!(table.remove_copy(first));
    assert_eq!(table.wait(first.task, NOW), Some(charge));
    table.pop_ready(NOW);
    assert!(table.add_copy(first.task, charge));
    let change = table.lease(&leased(first, 0), worker(), NOW, |_| charge).unwrap();
    assert_eq!(change, LeaseChange { progressed: true, first: false, charge: None });
    let second = CopyId::new(first.task, 2);
    assert!(!table.remove_copy(second), "the leased copy is left");
    assert!(table.remove_copy(first), "no copy is left");
    assert_eq!(table.wait(first.task, NOW), Some(charge));
}

#[test]
fn a_lease_is_progress_when_it_is_new_or_at_another_element() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    table.confirm(copy, 1, NOW);
    let changes = [0, 0, 1].map(|offset| {
        let change = table.lease(&leased(copy, offset), worker(), NOW, |_| charge).unwrap();
        (change.first, change.progressed, change.charge)
    });
    assert_eq!(changes, [(true, true, None), (false, false, None), (false, true, None)]);
    assert_eq!(table.get(copy.task).unwrap().copy(1).unwrap().holder(), Some(worker()));
}

#[test]
fn a_lease_of_a_copy_that_was_never_published_is_ignored() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    for unknown in
        [CopyId::new(copy.task, 0), CopyId::new(copy.task, 2), CopyId::new(TaskNumber(99), 1)]
    {
        assert_eq!(table.lease(&leased(unknown, 0), worker(), NOW, |_| charge), None, "{unknown}");
    }
    table.check();
}

#[test]
fn a_confirm_does_not_end_the_lease_of_its_copy() {
    let mut table = TaskTable::default();
    let (copy, charge) = published(&mut table, 3, 7);
    table.lease(&leased(copy, 0), worker(), NOW, |_| charge).unwrap();
    table.confirm(copy, 1, NOW);
    assert_eq!(table.get(copy.task).unwrap().copy(1).unwrap().holder(), Some(worker()));
}
