//! A namespace of a broker, with workers in separate processes.

use phalanx::{Runtime, RuntimeBuilder};
use phalanx_test_proxy::Proxy;
use phalanx_test_support::{remove_namespace, soon, test_url, until};
use rustix::process::Signal;
use tokio::process::Command;

use super::{Process, WORKER};

/// A namespace of a broker. [`Fleet::end`] removes it.
pub(crate) struct Fleet {
    pub(crate) url: String,
    pub(crate) namespace: String,
}

impl Fleet {
    /// A fleet on the broker that all tests share.
    pub(crate) fn new() -> Self {
        Self::at(test_url())
    }

    /// A fleet on another broker.
    pub(crate) fn at(url: String) -> Self {
        let namespace = format!("fleet-{}", uuid::Uuid::new_v4());
        Self { url, namespace }
    }

    /// A leader that reaches the broker through a proxy; workers do not use the proxy.
    pub(crate) async fn with_leader_through_a_proxy(
        options: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
    ) -> (Self, Proxy, Runtime) {
        let fleet = Self::new();
        let proxy = Proxy::to(&fleet.url).await.unwrap();
        let leader = options(fleet.builder().url(proxy.url()));
        let runtime = soon("the connection", leader.connect()).await.unwrap();
        (fleet, proxy, runtime)
    }

    /// A fleet whose `count` workers, of two slots each, consume tasks.
    pub(crate) async fn with_workers(count: usize) -> (Self, Vec<Process>) {
        let fleet = Self::new();
        let workers = fleet.workers(count).await;
        (fleet, workers)
    }

    /// Starts `count` workers of two slots, and waits until they consume tasks.
    pub(crate) async fn workers(&self, count: usize) -> Vec<Process> {
        let mut workers: Vec<_> = (0..count).map(|_| self.worker(&[])).collect();
        for worker in &mut workers {
            worker.started().await;
        }
        workers
    }

    /// Kills workers one after the other, and starts another one in place of each.
    pub(crate) async fn kill_and_replace(&self, workers: &mut [Process]) {
        for worker in workers {
            worker.signal(Signal::KILL);
            worker.ended().await;
            *worker = self.worker(&[]);
            worker.started().await;
        }
    }

    /// Starts another worker in place of each that has ended by itself; returns how many have.
    pub(crate) async fn replace_ended(&self, workers: &mut [Process]) -> usize {
        let mut ended = 0;
        for worker in workers {
            if worker.has_ended() {
                ended += 1;
                *worker = self.worker(&[]);
                worker.started().await;
            }
        }
        ended
    }

    /// Starts a worker of two slots.
    pub(crate) fn worker(&self, flags: &[&str]) -> Process {
        self.program(WORKER, flags)
    }

    /// Starts another worker program, with two slots.
    pub(crate) fn program(&self, program: &str, flags: &[&str]) -> Process {
        let mut command = Command::new(program);
        command.arg("worker").args(flags);
        // In the environment, so that a flag can ask for another number.
        command.env("PHALANX_SLOTS", "2").env("PHALANX_NAMESPACE", &self.namespace);
        Process::spawn(&mut command, &self.url)
    }

    pub(crate) fn builder(&self) -> RuntimeBuilder {
        Runtime::builder().url(&self.url).namespace(&self.namespace)
    }

    /// A leader with default options.
    pub(crate) async fn lead(&self) -> Runtime {
        soon("the connection", self.builder().connect()).await.unwrap()
    }

    pub(crate) fn task_queue(&self) -> String {
        format!("{}.task.default", self.namespace)
    }

    pub(crate) fn reply_queue(&self, runtime: &Runtime) -> String {
        format!("{}.reply.{}", self.namespace, runtime.leader())
    }

    /// A connection that bypasses Phalanx.
    pub(crate) async fn raw(&self) -> lapin::Connection {
        phalanx_test_support::connect(&self.url).await.unwrap()
    }

    /// Deletes a queue; returns how many messages were in it.
    pub(crate) async fn delete_queue(&self, name: &str) -> u32 {
        let channel = self.raw().await.create_channel().await.unwrap();
        channel.queue_delete(name.into(), Default::default()).await.unwrap()
    }

    /// The number of consumers of a queue; `None` if the queue does not exist.
    pub(crate) async fn consumers(&self, name: &str) -> Option<u32> {
        self.queue(name).await.map(|queue| queue.consumer_count())
    }

    /// Waits until a queue exists and is empty.
    pub(crate) async fn emptied(&self, name: &str) {
        let is_empty =
            async || self.queue(name).await.is_some_and(|queue| queue.message_count() == 0);
        until("an empty queue", is_empty).await;
    }

    async fn queue(&self, name: &str) -> Option<lapin::Queue> {
        let channel = self.raw().await.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(name.into(), passive, Default::default()).await.ok()
    }

    /// Kills the workers and removes the namespace from the broker.
    pub(crate) async fn end(self, workers: Vec<Process>) {
        for mut worker in workers {
            worker.signal(Signal::KILL);
            worker.ended().await;
        }
        remove_namespace(&self.raw().await, &self.namespace).await.unwrap();
    }
}
