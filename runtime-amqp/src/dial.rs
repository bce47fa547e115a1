//! One attempt to connect to one host.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::AsyncTcpStream,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use phalanx_core::broker::ConnectError;
use tokio::time::timeout;

use crate::{
    error::{ACCESS_REFUSED, NOT_ALLOWED, Refusal, io_error},
    tls::Tls,
    url::{AmqpUrl, Host},
};

/// A connection, and the means to end it.
pub(crate) struct Dialed {
    pub(crate) connection: Connection,
    pub(crate) socket: Socket,
}

/// The socket beneath a connection.
///
/// lapin can only say good-bye in words, which a silent peer never answers: its thread would wait
/// for ever. Shutting the socket down ends it at once.
#[derive(Clone, Default)]
pub(crate) struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn remember(&self, stream: &tokio::net::TcpStream) -> io::Result<()> {
        #[cfg(unix)]
        let twin = std::os::fd::AsFd::as_fd(stream).try_clone_to_owned()?;
        #[cfg(windows)]
        let twin = std::os::windows::io::AsSocket::as_socket(stream).try_clone_to_owned()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(TcpStream::from(twin));
        Ok(())
    }

    /// Ends the connection now, whoever uses it.
    pub(crate) fn hang_up(&self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Refused only when the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Connects to one host; `name` is what the broker's user interface shows for the connection.
pub(crate) async fn dial(
    url: &AmqpUrl,
    shown: &str,
    tls: &Tls,
    host: &Host,
    name: &str,
) -> Result<Dialed, ConnectError> {
    let at = format!("{}:{}", host.name, host.port);
    let unreachable = |reason: String, source: Option<io::Error>| ConnectError::Unreachable {
        url: shown.to_owned(),
        reason: format!("{at}: {reason}"),
        source: source.map(Into::into),
    };
    let socket = Socket::default();
    let handshaking = Arc::new(AtomicBool::new(false));
    let attempt = async {
        let addresses = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
        let addresses: Vec<SocketAddr> =
            addresses.map_err(|error| unreachable(error.to_string(), Some(error)))?.collect();
        let (held, in_handshake, patience) =
            (socket.clone(), handshaking.clone(), url.connection_timeout);
        let (tls, name_of_host) = (tls.clone(), host.name.clone());
        let runtime = lapin::runtime::default_runtime()
            .map_err(|error| unreachable(error.to_string(), None))?;
        Connection::connector(
            uri(url, host),
            runtime,
            // Runs in lapin's own thread, which nobody can stop: hence a timeout of its own.
            async move |_, runtime| {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in &addresses {
                    match timeout(patience, AsyncTcpStream::connect(&runtime, *address)).await {
                        Ok(Ok(stream)) => {
                            if let AsyncTcpStream::Plain(plain) = &stream {
                                held.remember(plain.get_ref())?;
                            }
                            in_handshake.store(true, Ordering::Release);
                            let stream = timeout(patience, tls.secure(stream, &name_of_host));
                            let stream = stream.await.map_err(io::Error::from)??;
                            in_handshake.store(false, Ordering::Release);
                            return Ok(stream);
                        }
                        Ok(Err(error)) => last = error,
                        Err(elapsed) => last = elapsed.into(),
                    }
                }
                Err(last.into())
            },
            properties(name),
        )
        .await
        .map_err(|error| {
            let in_handshake = handshaking.load(Ordering::Acquire);
            match (Refusal::of(&error), io_error(&error)) {
                (Some(refusal), _) => by_refusal(url, shown, refusal),
                // A peer that breaks off has no certificate to complain about.
                (None, Some(io)) if in_handshake && io.kind() == io::ErrorKind::InvalidData => {
                    ConnectError::Tls { url: shown.to_owned(), reason: format!("{at}: {io}") }
                }
                (None, Some(io)) => {
                    unreachable(io.to_string(), Some(io::Error::new(io.kind(), io.to_string())))
                }
                (None, None) => unreachable(error.to_string(), None),
            }
        })
    };
    let result = timeout(url.connection_timeout, attempt).await;
    let result = result.unwrap_or_else(|_| {
        Err(unreachable(format!("no answer within {:?}", url.connection_timeout), None))
    });
    match result {
        Ok(connection) => Ok(Dialed { connection, socket }),
        Err(error) => {
            socket.hang_up();
            Err(error)
        }
    }
}

fn by_refusal(url: &AmqpUrl, shown: &str, refusal: Refusal) -> ConnectError {
    let (shown, user) = (shown.to_owned(), url.user.clone());
    let reason = refusal.text;
    match refusal.code {
        ACCESS_REFUSED => ConnectError::Credentials { url: shown, user, reason },
        // The same code says that a limit of connections is reached, which passes.
        NOT_ALLOWED if reason.contains("vhost") && !reason.contains("limit") => {
            ConnectError::VirtualHost { url: shown, vhost: url.vhost.clone(), user, reason }
        }
        _ => ConnectError::Unreachable { url: shown, reason, source: None },
    }
}

fn uri(url: &AmqpUrl, host: &Host) -> AMQPUri {
    AMQPUri {
        // Only its own connector would look at the scheme.
        scheme: if url.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: url.user.clone(), password: url.password.clone() },
            host: host.name.clone(),
            port: host.port,
        },
        vhost: url.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(url.heartbeat), ..Default::default() },
    }
}

fn properties(name: &str) -> ConnectionProperties {
    ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "phalanx".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
}
