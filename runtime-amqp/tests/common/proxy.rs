//! A TCP proxy that can cut, fall silent, and speak in the broker's name.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};

/// Sits between a broker and its clients.
pub struct Proxy {
    pub address: SocketAddr,
    cut: broadcast::Sender<()>,
    refusing: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    swallowed: watch::Sender<usize>,
    injectors: Arc<Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>>,
}

impl Proxy {
    /// A proxy to `broker` (`host:port`), for as long as the test's runtime lives.
    pub async fn start(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cut: broadcast::channel(1).0,
            refusing: Arc::default(),
            silent: Arc::default(),
            swallowed: watch::Sender::default(),
            injectors: Arc::default(),
        };
        let (broker, cut) = (broker.to_owned(), proxy.cut.clone());
        let (refusing, silent) = (proxy.refusing.clone(), proxy.silent.clone());
        let (injectors, swallowed) = (proxy.injectors.clone(), proxy.swallowed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&broker).await else { continue };
                let (injector, injected) = mpsc::unbounded_channel();
                injectors.lock().unwrap().push(injector);
                let (mut cut, silent) = (cut.subscribe(), silent.clone());
                let swallowed = swallowed.clone();
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let mut copies = JoinSet::new();
                    copies.spawn(upstream(from_client, to_server, silent.clone(), swallowed));
                    copies.spawn(downstream(from_server, to_client, injected, silent));
                    tokio::select! {
                        _ = cut.recv() => {}
                        _ = copies.join_next() => {}
                    }
                });
            }
        });
        proxy
    }

    /// The broker's URL through this proxy.
    pub fn url(&self, url: &str) -> String {
        let (credentials, _, rest) = super::parts(url);
        format!("amqp://{credentials}@{}{rest}", self.address)
    }

    /// Ends all connections; new ones are let through.
    pub fn cut(&self) {
        self.injectors.lock().unwrap().clear();
        let _ = self.cut.send(());
    }

    /// Whether new connections are ended at once.
    pub fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Whether packets vanish, both ways, on all connections. Counts the bytes of the clients that
    /// vanish from now on.
    pub fn silence(&self, silent: bool) -> watch::Receiver<usize> {
        self.silent.store(silent, Ordering::SeqCst);
        self.swallowed.send_replace(0);
        self.swallowed.subscribe()
    }

    /// Says to the last client that the broker takes no messages for now, as it does to those that
    /// publish: of the two connections of a process, the second.
    pub fn block_publishing(&self, reason: &str) {
        let mut arguments = vec![reason.len() as u8];
        arguments.extend(reason.as_bytes());
        self.say(60, &arguments);
    }

    /// Takes it back.
    pub fn unblock(&self) {
        self.say(61, &[]);
    }

    /// A method of class `connection`, on channel 0, to the last client.
    fn say(&self, method: u8, arguments: &[u8]) {
        let mut frame = vec![1, 0, 0];
        frame.extend((4 + arguments.len() as u32).to_be_bytes());
        frame.extend([0, 10, 0, method]);
        frame.extend(arguments);
        frame.push(0xCE);
        self.injectors.lock().unwrap().last().unwrap().send(frame).unwrap();
    }
}

async fn upstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    silent: Arc<AtomicBool>,
    swallowed: watch::Sender<usize>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if silent.load(Ordering::SeqCst) {
            swallowed.send_modify(|bytes| *bytes += read);
        } else if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Frame by frame, so that what is injected stands between two of the broker's.
async fn downstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut injected: mpsc::UnboundedReceiver<Vec<u8>>,
    silent: Arc<AtomicBool>,
) {
    let (frames, mut received) = mpsc::channel(1);
    let reader = async move {
        loop {
            let mut frame = vec![0; 7];
            if from.read_exact(&mut frame).await.is_err() {
                return;
            }
            let length = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
            frame.resize(7 + length + 1, 0);
            if from.read_exact(&mut frame[7..]).await.is_err() || frames.send(frame).await.is_err()
            {
                return;
            }
        }
    };
    let writer = async move {
        loop {
            let frame = tokio::select! {
                frame = received.recv() => frame,
                Some(frame) = injected.recv() => Some(frame),
            };
            let Some(frame) = frame else { return };
            if !silent.load(Ordering::SeqCst) && to.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reader, writer);
}
