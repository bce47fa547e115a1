//! Brokers that are not there, or refuse: one clear error at the leader, one line and an exit code
//! at the worker, and no secret in either.

use phalanx::{
    Error, Runtime,
    error::{BrokerError, ConnectError},
    prelude::*,
};
use phalanx_fleet_tests::*;
use phalanx_test_node::{NodeOptions, Permissions};

use crate::{
    fleet::{Fleet, WorkerProcess, parts, test_url},
    node, shown, soon,
};

const SECRET: &str = "hunter2";

/// How the leader fails, and the exit code and words of a worker.
async fn refused(url: &str) -> (ConnectError, i32, String) {
    let fleet = Fleet::at(url.to_owned());
    let error = soon("a refusal", fleet.builder().connect()).await.unwrap_err();
    let text = shown(&error);
    assert!(!text.contains(SECRET), "{text}");
    let Error::Connect(error) = error else { panic!("{text}") };
    let mut worker: WorkerProcess = fleet.worker(&["--connect-timeout", "1s"]);
    let (code, said) = worker.code().await;
    assert!(!said.contains(SECRET), "{said}");
    assert!(said.lines().last().unwrap().starts_with("error: "), "{said}");
    (error, code, said)
}

/// The broker of all tests, with other parts.
fn url(credentials: Option<&str>, virtual_host: Option<&str>) -> String {
    let (known, host, path) = parts(&test_url());
    let path = virtual_host.unwrap_or(&path);
    format!("amqp://{}@{host}/{path}", credentials.unwrap_or(&known))
}

#[tokio::test]
async fn a_url_that_names_no_broker() {
    for (url, expected) in [
        (format!("ann:{SECRET}@host"), "is not a broker URL"),
        (format!("carrier-pigeon://ann:{SECRET}@host"), "no broker for `carrier-pigeon://`"),
        (format!("amqp://ann:{SECRET}@host:port/"), "is not a broker URL"),
    ] {
        let (error, code, said) = refused(&url).await;
        assert!(matches!(error, ConnectError::Url { .. } | ConnectError::Scheme { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(said.contains(expected), "{said}");
        assert_eq!(code, 2);
    }
}

#[tokio::test]
async fn a_wrong_password() {
    let (credentials, ..) = parts(&test_url());
    let user = credentials.split_once(':').unwrap().0;
    let (error, code, said) = refused(&url(Some(&format!("{user}:{SECRET}")), None)).await;
    assert!(matches!(&error, ConnectError::Credentials { user: named, .. } if named == user));
    assert!(said.contains(&format!("refused the user `{user}`")), "{said}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_missing_virtual_host() {
    let (error, code, said) = refused(&url(None, Some("no-such-host"))).await;
    assert!(matches!(&error, ConnectError::VirtualHost { vhost, .. } if vhost == "no-such-host"));
    assert!(said.contains("refused the virtual host `no-such-host`"), "{said}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_broker_that_is_not_there() {
    // A port that was free a moment ago, below those that the system hands out, is free now.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (error, code, said) = refused(&format!("amqp://guest:{SECRET}@{address}/")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(said.contains("cannot reach the broker at"), "{said}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_user_who_may_do_nothing() {
    let nothing = Permissions { configure: "^$", write: "^$", read: "^$" };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &nothing);
    let node = node::start(options).await;
    let (error, code, said) = refused(&node.url_for("ann", SECRET, "%2f")).await;
    let ConnectError::Setup { source: BrokerError::Denied { what, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(what.starts_with("exchange `fleet-"), "{what}");
    assert!(said.contains("refused access to exchange `fleet-"), "{said}");
    assert_eq!(code, 1);
}

/// It may connect and make what every worker needs, but there is no task queue and it may not make
/// one.
#[tokio::test]
async fn a_worker_that_may_not_take_tasks() {
    let all_but_tasks = Permissions {
        configure: r"^fleet-[0-9a-f-]+\.(reply|control|event|dead|task$).*",
        write: ".*",
        read: r"^fleet-[0-9a-f-]+\.(reply|control|event|dead).*",
    };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &all_but_tasks);
    let node = node::start(options).await;
    let fleet = Fleet::at(node.url_for("ann", SECRET, "%2f"));
    let mut worker = fleet.worker(&[]);
    let (code, said) = worker.code().await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("refused access to") && said.contains(".task.default"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

/// It may take tasks and not answer: what it took is done by others.
#[tokio::test]
async fn a_worker_that_may_not_answer() {
    let all_but_answers = Permissions {
        configure: ".*",
        write: r"^fleet-[0-9a-f-]+\.(task|event|control|dead).*",
        read: ".*",
    };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &all_but_answers);
    let node = node::start(options).await;
    let fleet = Fleet::at(node.url());
    let runtime = fleet.lead().await;
    let mut mute =
        Fleet { url: node.url_for("ann", SECRET, "%2f"), namespace: fleet.namespace.clone() }
            .worker(&[]);
    mute.started().await;
    let triples = IndexedStream::from(0..100u64).map(Triple).collect(&runtime);
    let silence = async {
        let (code, said) = mute.code().await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("ACCESS_REFUSED") && said.contains(".reply"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
        let mut other = fleet.worker(&[]);
        other.started().await;
        other
    };
    let (triples, other) = soon("both", futures::future::join(triples, silence)).await;
    assert_eq!(triples.unwrap(), (0..100).map(|n| 3 * n).collect::<Vec<_>>());
    runtime.close().await;
    fleet.end(vec![other]).await;
}

#[tokio::test]
async fn a_worker_of_memory_is_told_where_workers_live() {
    let fleet = Fleet::at("memory://".to_owned());
    let (code, said) = fleet.worker(&[]).code().await;
    assert_eq!(code, 2);
    assert!(said.contains("live in the leader's process"), "{said}");
    assert!(said.contains("PHALANX_URL=amqp://"), "{said}");
}

#[tokio::test]
async fn a_worker_that_serves_says_so_in_one_line() {
    let (credentials, host, _) = parts(&test_url());
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--pool", "default,other", "--async-slots", "9"]);
    let line = worker.line().await.expect("it says what it serves");
    let password = credentials.split_once(':').unwrap().1;
    for part in ["pools default, other", "2 slots, 9 asynchronous", " operations (", &host] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains(&format!(":{password}@")), "{line}");
    worker.signal(rustix::process::Signal::TERM);
    let (code, said) = worker.code().await;
    assert_eq!(code, 0, "{said}");
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_leader_shows_its_broker_without_secrets() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    assert_eq!(runtime.url().to_string(), "memory://");
    runtime.close().await;
    let fleet = Fleet::new();
    let runtime = fleet.lead().await;
    let (credentials, ..) = parts(&fleet.url);
    let text = format!("{runtime:?} {}", runtime.url());
    assert!(!text.contains(&format!("{credentials}@")), "{text}");
    runtime.close().await;
    fleet.end(Vec::new()).await;
}
