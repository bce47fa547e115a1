//! A namespace of a broker, with workers in processes of their own.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use phalanx::{Runtime, RuntimeBuilder};
use phalanx_test_proxy::Proxy;
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

use crate::soon;

/// The worker that is built like this program.
pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_fleet-worker");
/// The worker of another build.
pub(crate) const OLDER_WORKER: &str = env!("CARGO_BIN_EXE_older-worker");

/// The worker that has two operations of one name.
pub(crate) const AMBIGUOUS_WORKER: &str = env!("CARGO_BIN_EXE_ambiguous-worker");

/// The pools that the tests use.
const POOLS: [&str; 2] = ["default", "other"];

/// The broker that the developer's chores provide.
pub(crate) fn test_url() -> String {
    std::env::var("PHALANX_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "PHALANX_TEST_AMQP_URL is not set: run `cargo xtask test`, which provides a broker, \
             or set it to the URL of one, such as amqp://guest:guest@127.0.0.1:5672/"
        )
    })
}

/// The parts of a URL: credentials, host and port, virtual host.
pub(crate) fn parts(url: &str) -> (String, String, String) {
    let rest = url.split_once("://").unwrap().1;
    let (credentials, place) = rest.rsplit_once('@').unwrap_or(("guest:guest", rest));
    let (host, virtual_host) = place.split_once('/').unwrap_or((place, ""));
    let port = if host.contains(':') { "" } else { ":5672" };
    let virtual_host = if virtual_host.is_empty() { "%2f" } else { virtual_host };
    (credentials.to_owned(), format!("{host}{port}"), virtual_host.to_owned())
}

/// A namespace of a broker. [`Fleet::end`] leaves nothing of it behind.
pub(crate) struct Fleet {
    pub(crate) url: String,
    pub(crate) namespace: String,
}

impl Fleet {
    /// On the broker of all tests.
    pub(crate) fn new() -> Self {
        Self::at(test_url())
    }

    pub(crate) fn at(url: String) -> Self {
        let namespace = format!("fleet-{}", uuid::Uuid::new_v4());
        Self { url, namespace }
    }

    /// With a leader whose way to the broker can be spoilt; that of the workers is another.
    pub(crate) async fn with_leader_behind_a_proxy(
        options: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
    ) -> (Self, Proxy, Runtime) {
        let fleet = Self::new();
        let proxy = Proxy::to(&fleet.url).await.unwrap();
        let leader = options(fleet.builder().url(proxy.url()));
        let runtime = soon("to connect", leader.connect()).await.unwrap();
        (fleet, proxy, runtime)
    }

    /// With so many workers, of two slots each, that take tasks.
    pub(crate) async fn with_workers(count: usize) -> (Self, Vec<WorkerProcess>) {
        let fleet = Self::new();
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(fleet.worker(&[]));
        }
        for worker in &mut workers {
            worker.started().await;
        }
        (fleet, workers)
    }

    pub(crate) fn worker(&self, flags: &[&str]) -> WorkerProcess {
        self.program(WORKER, flags)
    }

    pub(crate) fn program(&self, program: &str, flags: &[&str]) -> WorkerProcess {
        let mut command = Command::new(program);
        command.args(["worker", "--slots", "2"]);
        command.args(flags);
        WorkerProcess::spawn(command.env("PHALANX_NAMESPACE", &self.namespace), &self.url)
    }

    /// A leader of this namespace.
    pub(crate) fn builder(&self) -> RuntimeBuilder {
        Runtime::builder().url(&self.url).namespace(&self.namespace)
    }

    pub(crate) async fn lead(&self) -> Runtime {
        soon("to connect", self.builder().connect()).await.unwrap()
    }

    pub(crate) fn task_queue(&self) -> String {
        format!("{}.task.default", self.namespace)
    }

    /// A connection that knows nothing of Phalanx.
    pub(crate) async fn raw(&self) -> lapin::Connection {
        let (credentials, host, virtual_host) = parts(&self.url);
        let url = format!("amqp://{credentials}@{host}/{virtual_host}");
        lapin::Connection::connect(&url, Default::default()).await.unwrap()
    }

    /// How many consume from a queue; `None` when there is no such queue.
    pub(crate) async fn consumers(&self, name: &str) -> Option<u32> {
        self.queue(name).await.map(|queue| queue.consumer_count())
    }

    /// Waits until nothing is left in a queue.
    pub(crate) async fn emptied(&self, name: &str) {
        let empty = async {
            while self.queue(name).await.is_none_or(|queue| queue.message_count() > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("an empty queue", empty).await;
    }

    async fn queue(&self, name: &str) -> Option<lapin::Queue> {
        let channel = self.raw().await.create_channel().await.unwrap();
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(name.into(), passive, Default::default()).await.ok()
    }

    /// Ends the workers, and leaves nothing on the broker.
    pub(crate) async fn end(self, workers: Vec<WorkerProcess>) {
        for mut worker in workers {
            worker.signal(Signal::KILL);
            worker.ended().await;
        }
        let connection = self.raw().await;
        for last in ["task", "reply", "control", "event", "dead"] {
            let channel = connection.create_channel().await.unwrap();
            let name = format!("{}.{last}", self.namespace);
            let _ = channel.exchange_delete(name.into(), Default::default()).await;
        }
        for kind in ["task", "dead"] {
            for pool in POOLS {
                let channel = connection.create_channel().await.unwrap();
                let name = format!("{}.{kind}.{pool}", self.namespace);
                let _ = channel.queue_delete(name.into(), Default::default()).await;
            }
        }
    }
}

/// A worker in a process of its own, which ends with this one.
pub(crate) struct WorkerProcess {
    child: Child,
    /// Its end is the worker's end; waiting for a child closes the pipe that is still in it.
    _life: Option<ChildStdin>,
    said: Lines<BufReader<ChildStderr>>,
}

impl WorkerProcess {
    pub(crate) fn spawn(command: &mut Command, url: &str) -> Self {
        command.env("PHALANX_URL", url).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let life = child.stdin.take();
        Self { child, _life: life, said }
    }

    /// The next line that it says; `None` when it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        soon("a line of the worker", self.said.next_line()).await.unwrap()
    }

    /// Waits until it says what it serves.
    pub(crate) async fn started(&mut self) -> String {
        loop {
            let line = self.line().await.expect("it starts");
            if line.contains(" operations ") {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap()));
        if let Some(id) = id {
            // It may have ended by itself just now.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Whether it has ended, so far.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        soon("the worker to end", self.child.wait()).await.unwrap()
    }

    /// Waits for its end: its exit code, and all that it said since it was last heard.
    pub(crate) async fn code(&mut self) -> (i32, String) {
        let status = self.ended().await;
        let mut said = String::new();
        while let Some(line) = self.line().await {
            said += &line;
            said.push('\n');
        }
        (status.code().expect("it was not killed"), said)
    }
}
