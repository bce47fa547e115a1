//! Brokers that cannot be reached or refuse the connection: one clear error at the leader, one line
//! and an exit code at the worker, and no secret in either.

use phalanx::{
    Error, Runtime,
    error::{BrokerError, ConnectError},
    prelude::*,
};
use phalanx_fleet_tests::*;
use phalanx_test_node::{NodeOptions, Permissions};
use phalanx_test_proxy::Parts;
use phalanx_test_support::{full_text, soon, test_url};

use crate::support::{Fleet, Process, WORKER, start_node, with_node};

const SECRET: &str = "hunter2";

/// The error of a leader, and the exit code and standard error of a worker.
async fn refused(url: &str) -> (ConnectError, i32, String) {
    let fleet = Fleet::at(url.to_owned());
    let error = soon("a refusal", fleet.builder().connect()).await.unwrap_err();
    let text = full_text(&error);
    assert!(!text.contains(SECRET), "{text}");
    let Error::Connect(error) = error else { panic!("{text}") };
    let mut worker = fleet.worker(&["--connect-timeout", "1s"]);
    let (code, stderr) = worker.exit().await;
    assert!(!stderr.contains(SECRET), "{stderr}");
    assert!(stderr.lines().last().unwrap().starts_with("error: "), "{stderr}");
    (error, code, stderr)
}

#[tokio::test]
async fn an_invalid_broker_url_is_reported_without_its_password() {
    for (url, expected) in [
        (format!("ann:{SECRET}@host"), "is not a broker URL"),
        (format!("carrier-pigeon://ann:{SECRET}@host"), "no broker for `carrier-pigeon://`"),
        (format!("amqp://ann:{SECRET}@host:port/"), "is not a broker URL"),
    ] {
        let (error, code, stderr) = refused(&url).await;
        assert!(matches!(error, ConnectError::Url { .. } | ConnectError::Scheme { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(code, 2);
    }
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_never_shown() {
    let mut parts = Parts::of(&test_url());
    let user = parts.credentials.split_once(':').unwrap().0.to_owned();
    parts.credentials = format!("{user}:{SECRET}");
    let (error, code, stderr) = refused(&parts.at(&parts.host)).await;
    assert!(matches!(&error, ConnectError::Credentials { user: named, .. } if *named == user));
    assert!(stderr.contains(&format!("refused the user `{user}`")), "{stderr}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_missing_virtual_host_is_reported() {
    let parts = Parts { rest: "/no-such-host".to_owned(), ..Parts::of(&test_url()) };
    let (error, code, stderr) = refused(&parts.at(&parts.host)).await;
    assert!(matches!(&error, ConnectError::VirtualHost { vhost, .. } if vhost == "no-such-host"));
    assert!(stderr.contains("access to the virtual host `no-such-host`"), "{stderr}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn an_unreachable_broker_is_reported() {
    // The listener is dropped, so its port is most likely still free.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (error, code, stderr) = refused(&format!("amqp://guest:{SECRET}@{address}/")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(stderr.contains("cannot reach the broker at"), "{stderr}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_user_without_permissions_is_reported() {
    let nothing = Permissions { configure: "^$", write: "^$", read: "^$" };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &nothing);
    let node = start_node(options).await;
    let (error, code, stderr) = refused(&node.url_for("ann", SECRET, "%2f")).await;
    let ConnectError::Setup { source: BrokerError::Denied { what, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(what.starts_with("exchange `fleet-"), "{what}");
    assert!(stderr.contains("refused access to exchange `fleet-"), "{stderr}");
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_broker_whose_limits_are_too_small_is_reported_with_their_names() {
    for (name, limit, least) in [("channel_max", 4, 16), ("frame_max", 8_192, 65_536)] {
        let node = start_node(NodeOptions::new().config(format!("{name} = {limit}"))).await;
        let (error, code, stderr) = refused(&node.url()).await;
        let ConnectError::Setup { source: BrokerError::Unusable { reason, .. }, .. } = &error
        else {
            panic!("{error:?}")
        };
        let expected = format!("its `{name}` is {limit}; set it to {least} or more");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(stderr.contains(&expected), "{stderr}");
        assert_eq!(code, 1);
    }
}

/// The broker accepts the connection, and ends it at the first channel beyond the limit.
#[tokio::test]
async fn a_broker_that_ends_each_connection_after_the_handshake_is_reported_with_its_reason() {
    let node = start_node(NodeOptions::new().user("ann", SECRET)).await;
    let everything = ["set_permissions", "ann", ".*", ".*", ".*"];
    let (mut node, allowed) = with_node(node, move |node| node.control(&everything)).await;
    allowed.unwrap();
    for limit in [0, 1] {
        let limits = format!("{{\"max-channels\": {limit}}}");
        let (limited, done) =
            with_node(node, move |node| node.control(&["set_user_limits", "ann", &limits])).await;
        done.unwrap();
        node = limited;
        let (error, code, stderr) = refused(&node.url_for("ann", SECRET, "%2f")).await;
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("maximum allowed"), "{limit}: {error}");
        assert!(stderr.lines().last().unwrap().contains("maximum allowed"), "{limit}: {stderr}");
        assert!(!stderr.contains("operations"), "it does not serve: {stderr}");
        assert_eq!(code, 1);
    }
}

/// Its user may declare everything that a worker needs, except the task queue.
#[tokio::test]
async fn a_worker_that_may_not_consume_tasks_exits_with_an_error() {
    let all_but_tasks = Permissions {
        configure: r"^fleet-[0-9a-f-]+\.(reply|control|event|dead|task$).*",
        write: ".*",
        read: r"^fleet-[0-9a-f-]+\.(reply|control|event|dead).*",
    };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &all_but_tasks);
    let node = start_node(options).await;
    let fleet = Fleet::at(node.url_for("ann", SECRET, "%2f"));
    let mut worker = fleet.worker(&[]);
    let (code, stderr) = worker.exit().await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("refused access to") && stderr.contains(".task.default"), "{stderr}");
    assert!(!stderr.contains(SECRET), "{stderr}");
}

/// Its user may consume tasks but not publish replies.
#[tokio::test]
async fn a_worker_that_may_not_reply_exits_and_its_tasks_run_elsewhere() {
    let all_but_replies = Permissions {
        configure: ".*",
        write: r"^fleet-[0-9a-f-]+\.(task|event|control|dead).*",
        read: ".*",
    };
    let options = NodeOptions::new().user("ann", SECRET).allow("ann", "/", &all_but_replies);
    let node = start_node(options).await;
    let fleet = Fleet::at(node.url());
    let runtime = fleet.lead().await;
    let mut mute =
        Fleet { url: node.url_for("ann", SECRET, "%2f"), namespace: fleet.namespace.clone() }
            .worker(&[]);
    mute.started().await;
    let triples = IndexedStream::from(0..100u64).map(Triple).collect(&runtime);
    let replacement = async {
        let (code, stderr) = mute.exit().await;
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("ACCESS_REFUSED") && stderr.contains(".reply"), "{stderr}");
        assert!(!stderr.contains(SECRET), "{stderr}");
        let mut other = fleet.worker(&[]);
        other.started().await;
        other
    };
    let (triples, other) =
        soon("the results and the new worker", futures::future::join(triples, replacement)).await;
    assert_eq!(triples.unwrap(), (0..100).map(|n| 3 * n).collect::<Vec<_>>());
    runtime.close().await;
    fleet.end(vec![other]).await;
}

/// As `${VARIABLE:-}` of a compose file gives them.
#[tokio::test]
async fn empty_environment_variables_count_as_not_set() {
    let fleet = Fleet::new();
    let mut command = tokio::process::Command::new(WORKER);
    for name in ["POOL", "SLOTS", "ASYNC_SLOTS", "STACK", "HOLD", "GRACE", "HEALTH", "LOG"] {
        command.env(format!("PHALANX_{name}"), "");
    }
    command.env("PHALANX_CONNECT_TIMEOUT", " ").env("PHALANX_NAMESPACE", &fleet.namespace);
    let mut worker = Process::spawn(command.arg("worker"), &fleet.url);
    let line = worker.started().await;
    assert!(line.contains("pools default;"), "{line}");
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_worker_program_refuses_a_memory_url() {
    let fleet = Fleet::at("memory://".to_owned());
    let (code, stderr) = fleet.worker(&[]).exit().await;
    assert_eq!(code, 2);
    assert!(stderr.contains("live in the leader's process"), "{stderr}");
    assert!(stderr.contains("PHALANX_URL=amqp://"), "{stderr}");
}

#[tokio::test]
async fn a_worker_prints_what_it_serves_in_one_line() {
    let Parts { credentials, host, .. } = Parts::of(&test_url());
    let fleet = Fleet::new();
    let mut worker = fleet.worker(&["--pool", "default,other", "--async-slots", "9"]);
    let line = worker.line().await.expect("the worker prints a line");
    let password = credentials.split_once(':').unwrap().1;
    for part in ["pools default, other", "2 slots, 9 asynchronous", " operations (", &host] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains(&format!(":{password}@")), "{line}");
    worker.signal(rustix::process::Signal::TERM);
    worker.exited_cleanly().await;
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_runtime_prints_its_broker_without_credentials() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    assert_eq!(runtime.url().to_string(), "memory://");
    runtime.close().await;
    let fleet = Fleet::new();
    let runtime = fleet.lead().await;
    let Parts { credentials, .. } = Parts::of(&fleet.url);
    let text = format!("{runtime:?} {}", runtime.url());
    assert!(!text.contains(&format!("{credentials}@")), "{text}");
    runtime.close().await;
    fleet.end(Vec::new()).await;
}
