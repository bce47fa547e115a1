//! What the proxy does to bytes, with a server that says everything back.

use std::time::Duration;

use phalanx_test_proxy::{Proxy, Way};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A frame as a broker sends it.
const FRAME: [u8; 10] = [1, 0, 0, 0, 0, 0, 2, 7, 7, 0xCE];
const LONG: Duration = Duration::from_secs(60);
/// Long enough to see that nothing comes.
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

async fn ask(client: &mut TcpStream) {
    client.write_all(&FRAME).await.unwrap();
}

async fn answered(client: &mut TcpStream) {
    let mut answer = [0; FRAME.len()];
    timeout(LONG, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, FRAME);
}

async fn unanswered(client: &mut TcpStream) {
    assert!(timeout(GLANCE, client.read_u8()).await.is_err(), "something came");
}

#[tokio::test]
async fn what_is_stalled_comes_when_the_way_opens() {
    let (proxy, mut client) = echo().await;
    ask(&mut client).await;
    answered(&mut client).await;
    proxy.set(Way::Stalled);
    ask(&mut client).await;
    unanswered(&mut client).await;
    proxy.set(Way::Open);
    answered(&mut client).await;
    proxy.set(Way::Slow(GLANCE));
    ask(&mut client).await;
    answered(&mut client).await;
}

#[tokio::test]
async fn what_vanishes_is_counted_and_never_comes() {
    let (proxy, mut client) = echo().await;
    ask(&mut client).await;
    answered(&mut client).await;
    let mut swallowed = proxy.swallowed();
    proxy.set(Way::Silent);
    ask(&mut client).await;
    timeout(LONG, swallowed.wait_for(|bytes| *bytes == FRAME.len())).await.unwrap().unwrap();
    proxy.set(Way::Open);
    unanswered(&mut client).await;
    ask(&mut client).await;
    answered(&mut client).await;
}

#[tokio::test]
async fn a_cut_ends_what_is_connected_and_a_refusal_what_comes() {
    let (proxy, mut client) = echo().await;
    ask(&mut client).await;
    answered(&mut client).await;
    proxy.cut();
    assert!(matches!(timeout(LONG, client.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    proxy.refuse(true);
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(matches!(timeout(LONG, refused.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
    proxy.refuse(false);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut client).await;
    answered(&mut client).await;
}

#[tokio::test]
async fn what_is_said_in_the_broker_s_name_stands_between_two_frames() {
    let (proxy, mut client) = echo().await;
    ask(&mut client).await;
    answered(&mut client).await;
    // Half a frame is not handed on before its end came.
    client.write_all(&FRAME[..5]).await.unwrap();
    unanswered(&mut client).await;
    proxy.unblock();
    let mut unblocked = [0; 12];
    timeout(LONG, client.read_exact(&mut unblocked)).await.unwrap().unwrap();
    assert_eq!(unblocked[7..11], [0, 10, 0, 61]);
    client.write_all(&FRAME[5..]).await.unwrap();
    answered(&mut client).await;
}
