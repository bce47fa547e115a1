//! The proxy between a client and an echo server.

use std::time::Duration;

use phalanx_test_proxy::{Proxy, Traffic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A frame as a broker sends it.
const FRAME: [u8; 10] = [1, 0, 0, 0, 0, 0, 2, 7, 7, 0xCE];
const LONG: Duration = Duration::from_secs(120);
/// How long a test waits to see that nothing arrives.
const GLANCE: Duration = Duration::from_millis(100);

async fn echo() -> (Proxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://guest:guest@{}/%2f", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    let proxy = Proxy::to(&url).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

async fn send(client: &mut TcpStream) {
    client.write_all(&FRAME).await.unwrap();
}

async fn assert_echoed(client: &mut TcpStream) {
    let mut echo = [0; FRAME.len()];
    timeout(LONG, client.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(echo, FRAME);
}

async fn assert_silent(client: &mut TcpStream) {
    assert!(timeout(GLANCE, client.read_u8()).await.is_err(), "bytes arrived");
}

#[tokio::test]
async fn stalled_bytes_arrive_when_forwarding_resumes() {
    let (proxy, mut client) = echo().await;
    send(&mut client).await;
    assert_echoed(&mut client).await;
    proxy.set(Traffic::Stall);
    send(&mut client).await;
    assert_silent(&mut client).await;
    proxy.set(Traffic::Forward);
    assert_echoed(&mut client).await;
    proxy.set(Traffic::Delay(GLANCE));
    send(&mut client).await;
    assert_echoed(&mut client).await;
}

#[tokio::test]
async fn discarded_bytes_are_counted_and_never_arrive() {
    let (proxy, mut client) = echo().await;
    send(&mut client).await;
    assert_echoed(&mut client).await;
    let mut discarded = proxy.discarded();
    proxy.set(Traffic::Discard);
    send(&mut client).await;
    timeout(LONG, discarded.wait_for(|bytes| *bytes == FRAME.len())).await.unwrap().unwrap();
    proxy.set(Traffic::Forward);
    assert_silent(&mut client).await;
    send(&mut client).await;
    assert_echoed(&mut client).await;
}

#[tokio::test]
async fn silencing_affects_open_connections_and_no_new_ones() {
    let (proxy, mut open) = echo().await;
    send(&mut open).await;
    assert_echoed(&mut open).await;
    proxy.silence();
    send(&mut open).await;
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    send(&mut new).await;
    assert_echoed(&mut new).await;
    assert_silent(&mut open).await;
}

#[tokio::test]
async fn cutting_ends_open_connections_and_refusing_ends_new_ones() {
    let (proxy, mut client) = echo().await;
    send(&mut client).await;
    assert_echoed(&mut client).await;
    proxy.cut();
    assert!(matches!(timeout(LONG, client.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    proxy.refuse(true);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(matches!(timeout(LONG, refused.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    proxy.refuse(false);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    send(&mut client).await;
    assert_echoed(&mut client).await;
}

#[tokio::test]
async fn injected_frames_are_sent_between_whole_frames() {
    let (proxy, mut client) = echo().await;
    send(&mut client).await;
    assert_echoed(&mut client).await;
    // Half a frame is not forwarded before its end arrives.
    client.write_all(&FRAME[..5]).await.unwrap();
    assert_silent(&mut client).await;
    proxy.unblock();
    let mut unblocked = [0; 12];
    timeout(LONG, client.read_exact(&mut unblocked)).await.unwrap().unwrap();
    assert_eq!(unblocked[7..11], [0, 10, 0, 61]);
    client.write_all(&FRAME[5..]).await.unwrap();
    assert_echoed(&mut client).await;
}
