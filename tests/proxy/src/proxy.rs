//! A way to a broker that can be spoilt.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};

use crate::{
    Parts, Way,
    pipe::{Rules, downstream, upstream},
};

/// A way to a broker that can be spoilt, for as long as the tokio runtime lives.
#[derive(Debug)]
pub struct Proxy {
    /// One for each host of the broker, in their order.
    addresses: Vec<SocketAddr>,
    parts: Parts,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    way: watch::Sender<Way>,
    swallowed: watch::Sender<usize>,
    hushed: watch::Sender<bool>,
    cut: broadcast::Sender<()>,
    refusing: AtomicBool,
    /// What may speak in the broker's name to the connections, in the order in which they came.
    injectors: Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>,
}

impl Proxy {
    /// A way to the broker that `url` names, to each of its hosts.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn to(url: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            way: watch::Sender::default(),
            swallowed: watch::Sender::default(),
            hushed: watch::Sender::default(),
            cut: broadcast::channel(1).0,
            refusing: AtomicBool::default(),
            injectors: Mutex::default(),
        });
        let mut proxy = Self { addresses: Vec::new(), parts: Parts::of(url), shared };
        for host in proxy.parts.host.split(',') {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            proxy.addresses.push(listener.local_addr()?);
            tokio::spawn(listen(listener, host.to_owned(), Arc::clone(&proxy.shared)));
        }
        Ok(proxy)
    }

    /// Where it listens; for the first host, if there are several.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The broker's URL through this proxy.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        self.parts.at(&hosts.join(","))
    }

    /// What becomes of the bytes from now on, of all connections.
    pub fn set(&self, way: Way) {
        self.shared.way.send_replace(way);
    }

    /// Ends all connections; new ones are let through.
    pub fn cut(&self) {
        self.injectors().clear();
        // Nobody hears it only when there is nothing to cut.
        let _ = self.shared.cut.send(());
    }

    /// Whether new connections are ended at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Whether clients are not told any more when the broker ends their consumers.
    pub fn hush(&self, hushed: bool) {
        self.shared.hushed.send_replace(hushed);
    }

    /// How many bytes of the clients vanish from now on.
    pub fn swallowed(&self) -> watch::Receiver<usize> {
        self.shared.swallowed.send_replace(0);
        self.shared.swallowed.subscribe()
    }

    /// Says to the last client that the broker takes no messages for now, as it does to those that
    /// publish: of the two connections of a process, the second.
    pub fn block_publishing(&self, reason: &str) {
        let length = u8::try_from(reason.len()).unwrap_or(u8::MAX);
        let mut arguments = vec![length];
        arguments.extend(&reason.as_bytes()[..length.into()]);
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
        if let Some(last) = self.injectors().last() {
            // A client that is gone hears nothing.
            let _ = last.send(frame);
        }
    }

    fn injectors(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Vec<u8>>>> {
        self.shared.injectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets clients through to one host.
async fn listen(listener: TcpListener, host: String, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if !shared.refusing.load(Ordering::SeqCst) {
            tokio::spawn(connect(client, host.clone(), Arc::clone(&shared)));
        }
    }
}

/// One connection, until one of its sides ends it or all are cut.
async fn connect(client: TcpStream, broker: String, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(server) = TcpStream::connect(&broker).await else { return };
    let (injector, injected) = mpsc::unbounded_channel();
    shared.injectors.lock().unwrap_or_else(PoisonError::into_inner).push(injector);
    let rules = Rules {
        way: shared.way.subscribe(),
        swallowed: shared.swallowed.clone(),
        hushed: shared.hushed.subscribe(),
    };
    // Another process's frames are as small as ours, and as little to be held back.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut copies = JoinSet::new();
    copies.spawn(upstream(from_client, to_server, rules.clone()));
    copies.spawn(downstream(from_server, to_client, injected, rules));
    tokio::select! {
        _ = cut.recv() => {}
        _ = copies.join_next() => {}
    }
}
