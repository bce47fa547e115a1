//! A way to the broker that can be cut.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::fleet::parts;

pub(crate) struct Proxy {
    address: SocketAddr,
    cut: broadcast::Sender<()>,
}

impl Proxy {
    /// A way to the broker that `url` names, for as long as the test's runtime lives.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), cut: broadcast::channel(1).0 };
        let (_, broker, _) = parts(url);
        let cuts = proxy.cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut server) = TcpStream::connect(&broker).await else { continue };
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.recv() => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        proxy
    }

    /// The same URL through this proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (credentials, _, virtual_host) = parts(url);
        format!("amqp://{credentials}@{}/{virtual_host}", self.address)
    }

    /// Ends all connections; new ones are let through.
    pub(crate) fn cut(&self) {
        // Nobody is there to hear it only when there is nothing to cut.
        let _ = self.cut.send(());
    }
}
