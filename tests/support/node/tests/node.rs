//! Private nodes: data that survives a kill, permissions, clean-up.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use phalanx_test_node::{NodeOptions, Permissions, PrivateNode};

type Outcome = Result<(), Box<dyn Error>>;

async fn channel(url: &str) -> lapin::Result<Channel> {
    Connection::connect(url, ConnectionProperties::default()).await?.create_channel().await
}

#[tokio::test]
async fn confirmed_messages_survive_a_kill() -> Outcome {
    let mut node = PrivateNode::start(&NodeOptions::new())?;
    let url = node.url();
    let before = channel(&url).await?;
    before.confirm_select(ConfirmSelectOptions::default()).await?;
    before.queue_declare("kept".into(), QueueDeclareOptions::durable(), Default::default()).await?;
    before
        .basic_publish(
            "".into(),
            "kept".into(),
            BasicPublishOptions::default(),
            b"confirmed",
            BasicProperties::default().with_delivery_mode(2),
        )
        .await?
        .await?;

    node.kill()?;
    assert!(!listens(node.address()), "a killed node still listens");
    assert!(node.kill().is_err(), "a node was killed twice");
    node.restart()?;

    assert_eq!(node.url(), url);
    assert!(node.version().is_some_and(|version| version.contains('.')));
    let message = channel(&url).await?.basic_get("kept".into(), BasicGetOptions::default()).await?;
    assert_eq!(message.map(|message| message.data.clone()).as_deref(), Some(&b"confirmed"[..]));
    Ok(())
}

#[tokio::test]
async fn users_get_the_permissions_they_were_given() -> Outcome {
    let node = PrivateNode::start(
        &NodeOptions::new().virtual_host("tenant").user("reader", "secret").allow(
            "reader",
            "tenant",
            &Permissions { configure: "^$", write: "^$", read: ".*" },
        ),
    )?;
    let declare = async |channel: Channel| {
        channel
            .queue_declare("mine".into(), QueueDeclareOptions::durable(), Default::default())
            .await
    };

    let reader = channel(&node.url_for("reader", "secret", "tenant")).await?;
    let refused = declare(reader).await.expect_err("a reader declared a queue");
    assert!(refused.to_string().contains("ACCESS_REFUSED"), "{refused}");
    assert!(channel(&node.url_for("reader", "wrong", "tenant")).await.is_err());
    assert!(channel(&node.url_for("reader", "secret", "%2f")).await.is_err());
    declare(channel(&node.url()).await?).await?;
    Ok(())
}

#[test]
fn dropping_a_node_leaves_nothing_behind() -> Outcome {
    let node = PrivateNode::start(&NodeOptions::new())?;
    let (address, data) = (node.address(), node.data().to_owned());
    assert!(listens(address) && data.exists());

    drop(node);

    assert!(!listens(address) && !data.exists());
    assert_eq!(processes_of(&data), Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn killing_the_process_that_owns_a_node_leaves_nothing_behind() -> Outcome {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold-node"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(holder.stdout.take().ok_or("no output")?).lines();
    let address: SocketAddr = lines.next().ok_or("no address")??.parse()?;
    let data = PathBuf::from(lines.next().ok_or("no directory")??);
    assert!(listens(address) && data.exists());

    holder.kill()?;
    holder.wait()?;

    let deadline = Instant::now() + Duration::from_secs(120);
    while listens(address) || data.exists() || !processes_of(&data).is_empty() {
        assert!(Instant::now() < deadline, "the node outlived its process");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_node_that_cannot_boot_reports_the_reason() {
    let error = PrivateNode::start(&NodeOptions::new().config("no_such_setting = 1"))
        .expect_err("a broken configuration was accepted");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The processes whose environment names a directory; none if there is no `/proc`.
fn processes_of(data: &Path) -> Vec<PathBuf> {
    let name = data.to_string_lossy();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| Some(process.ok()?.path()))
        .filter(|process| {
            std::fs::read(process.join("environ"))
                .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains(&*name))
        })
        .collect()
}
