//! A proxy in front of a broker.

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
    BrokerMethod, Parts, Traffic,
    pipe::{Rules, downstream, upstream},
};

/// A proxy in front of a broker. It runs until the Tokio runtime ends.
#[derive(Debug)]
pub struct Proxy {
    /// One address for each host of the broker, in the same order.
    addresses: Vec<SocketAddr>,
    parts: Parts,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    traffic: watch::Sender<Traffic>,
    /// How often the open connections were silenced.
    silenced: watch::Sender<u64>,
    discarded: watch::Sender<usize>,
    hidden: watch::Sender<Option<BrokerMethod>>,
    cut: broadcast::Sender<()>,
    refusing: AtomicBool,
    /// Frames to inject into the connections, in the order in which those were opened.
    injectors: Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>,
}

impl Proxy {
    /// Starts a proxy for each host in `url`, on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// If the system has no free port.
    pub async fn to(url: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            traffic: watch::Sender::default(),
            silenced: watch::Sender::default(),
            discarded: watch::Sender::default(),
            hidden: watch::Sender::default(),
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

    /// The address of the proxy for the first host.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The URL of the broker through this proxy.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        self.parts.at(&hosts.join(","))
    }

    /// Sets what happens to the bytes of all connections from now on.
    pub fn set(&self, traffic: Traffic) {
        self.shared.traffic.send_replace(traffic);
    }

    /// Discards all bytes of the connections that are open now, for as long as they last. New ones
    /// are not affected.
    pub fn silence(&self) {
        self.shared.silenced.send_modify(|times| *times += 1);
    }

    /// Closes all connections. New ones are accepted.
    pub fn cut(&self) {
        self.injectors().clear();
        // An error means that there is no connection to cut.
        let _ = self.shared.cut.send(());
    }

    /// Sets whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Hides a method that the broker sends from the clients of all connections from now on.
    pub fn hide(&self, hidden: Option<BrokerMethod>) {
        self.shared.hidden.send_replace(hidden);
    }

    /// Starts to count the bytes of clients that [`Traffic::Discard`] discards.
    pub fn discarded(&self) -> watch::Receiver<usize> {
        self.shared.discarded.send_replace(0);
        self.shared.discarded.subscribe()
    }

    /// Sends `connection.blocked` to the newest connection. Of the two connections of a Phalanx
    /// process it is the one that publishes.
    pub fn block_publishing(&self, reason: &str) {
        let length = u8::try_from(reason.len()).unwrap_or(u8::MAX);
        let mut arguments = vec![length];
        arguments.extend(&reason.as_bytes()[..length.into()]);
        self.inject(60, &arguments);
    }

    /// Sends `connection.unblocked` to the newest connection.
    pub fn unblock(&self) {
        self.inject(61, &[]);
    }

    /// Sends a method of class `connection`, on channel 0, to the newest connection.
    fn inject(&self, method: u8, arguments: &[u8]) {
        let mut frame = vec![1, 0, 0];
        frame.extend((4 + arguments.len() as u32).to_be_bytes());
        frame.extend([0, 10, 0, method]);
        frame.extend(arguments);
        frame.push(0xCE);
        if let Some(last) = self.injectors().last() {
            // An error means that the connection has ended.
            let _ = last.send(frame);
        }
    }

    fn injectors(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Vec<u8>>>> {
        self.shared.injectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts connections for one host.
async fn listen(listener: TcpListener, host: String, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if !shared.refusing.load(Ordering::SeqCst) {
            tokio::spawn(connect(client, host.clone(), Arc::clone(&shared)));
        }
    }
}

/// Serves one connection until one side closes it or it is cut.
async fn connect(client: TcpStream, broker: String, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(server) = TcpStream::connect(&broker).await else { return };
    let (injector, injected) = mpsc::unbounded_channel();
    shared.injectors.lock().unwrap_or_else(PoisonError::into_inner).push(injector);
    let rules = Rules {
        traffic: shared.traffic.subscribe(),
        silenced: shared.silenced.subscribe(),
        opened_at: *shared.silenced.borrow(),
        discarded: shared.discarded.clone(),
        hidden: shared.hidden.subscribe(),
    };
    // Small frames must not be held back.
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
