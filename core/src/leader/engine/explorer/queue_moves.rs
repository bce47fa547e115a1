//! The events that can happen next at the queues of partitions.

use std::rc::Rc;

use super::{
    faults::Fault,
    moves::Moves,
    parts::{Copy, Reply, WorkerState, leased_task, worker},
    queues::queued,
    rules::Rule,
    worker::returned,
    world::World,
};

impl Moves<'_> {
    /// Declarations and blocks arrive, and the broker loses some.
    pub(super) fn queues(&mut self) {
        let queues = &self.world.queues;
        if !queues.managing.is_empty() {
            self.branch(World::carry_out_next);
        }
        if let Some(block) = queues.published.front() {
            let block = block.clone();
            self.branch(World::block_arrives);
            self.fault(Fault::BlockTwice, |world| {
                world.put(block);
                world.block_arrives();
            });
        }
        for at in 0..queues.late.len() {
            self.branch(|world| {
                let block = world.queues.late.remove(at);
                world.put(block);
            });
        }
        if self.world.is_dead() {
            return;
        }
        for (partition, blocks) in &self.world.queues.blocks {
            self.fault(Fault::QueueDeleted, |world| {
                world.queues.lost = true;
                world.queues.blocks.remove(partition);
            });
            for at in 0..blocks.len() {
                self.fault(Fault::BlockLost, |world| {
                    world.queues.lost = true;
                    world.queues.blocks.get_mut(partition).expect("it exists").remove(at);
                });
            }
        }
    }

    /// A worker that has run a task publishes its blocks and then its reply, or dies in between.
    pub(super) fn reply_after_blocks(&mut self, number: usize, copy: &Copy, reply: &Reply) {
        let message = &copy.message;
        if !self.world.has_queues_for(message, reply) {
            return self.wait_for_queues(number, copy);
        }
        let published = |world: &mut World| {
            let reply = world.publish_blocks(message, reply);
            world.ack_read(message);
            reply
        };
        self.branch(|world| {
            let reply = published(world);
            world.send(number, reply);
        });
        self.fault(Fault::Unroutable, |world| {
            let reply = published(world);
            world.keep(number, reply);
        });
        if self.world.publishes(message, reply) {
            self.fault(Fault::Crash, |world| {
                published(world);
                world.kill(number);
            });
            self.fault(Fault::Crash, |world| {
                published(world);
                world.forget_last_outputs(message);
                world.kill(number);
            });
            self.fault(Fault::BlockTwice, |world| {
                let reply = published(world);
                let last = world.queues.blocks.values_mut().find(|queue| !queue.is_empty());
                if let Some(queue) = last
                    && let Some(block) = queue.last().cloned()
                {
                    queue.push(block);
                }
                world.send(number, reply);
            });
        }
    }

    /// The queues of its blocks are gone: a worker goes on to publish them under a lease.
    fn wait_for_queues(&mut self, number: usize, copy: &Copy) {
        if matches!(self.world.workers[number], WorkerState::Holds { reply: None, .. }) {
            let leased = leased_task(&WorkerState::Leases { copy: copy.clone(), alone: false });
            self.branch(|world| {
                world.send(number, Reply::Lease(worker(number), leased.unwrap()));
            });
        }
    }

    /// A worker reads the queues of a task, in two steps; `false` if it reads none.
    pub(super) fn gathers(&mut self, number: usize, copy: &Copy) -> bool {
        let Some(queued) = queued(copy) else { return false };
        let readers = &self.world.queues.readers;
        let reads = readers.values().any(|reader| *reader == number);
        let sees_none = self.world.rule_off == Some(Rule::OneReader)
            && queued.partitions.iter().all(|it| readers.contains_key(&it.partition));
        if !reads && !sees_none {
            // Or it tries again.
            if self.world.may_read(&queued) {
                self.branch(|world| world.begin_reading(number, &queued));
            }
            return true;
        }
        self.branch(|world| {
            let gathered = world.gather(number, &copy.message, &queued);
            world.end_reading(number);
            match gathered {
                Ok(message) => world.replace_task(number, message),
                Err(reason) => {
                    world.reissue_causes += 1;
                    world.send(number, returned(&copy.message, number, reason));
                }
            }
        });
        true
    }
}

impl World {
    fn publishes(&self, message: &crate::wire::TaskMessage, reply: &Reply) -> bool {
        let mut after = self.clone();
        after.publish_blocks(message, reply);
        let (blocks, outputs) = (&after.queues.blocks, &after.output_queues.blocks);
        *blocks != self.queues.blocks || *outputs != self.output_queues.blocks
    }

    /// A worker has gathered what its task needs.
    fn replace_task(&mut self, number: usize, message: crate::wire::TaskMessage) {
        if let WorkerState::Holds { copy, .. } | WorkerState::Leases { copy, .. } =
            &mut self.workers[number]
        {
            copy.message = Rc::new(message);
        }
    }
}
