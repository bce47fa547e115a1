//! One attempt to connect to one host.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::AsyncTcpStream,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use phalanx_core::broker::ConnectError;
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    error::{ACCESS_REFUSED, NOT_ALLOWED, Refusal, io_error},
    greeting::Greeting,
    socket::SocketHandle,
    tls::Tls,
    url::{AmqpUrl, Host},
};

/// An open connection, and the handle that ends it.
pub(crate) struct Dialed {
    pub(crate) connection: Connection,
    pub(crate) socket: SocketHandle,
    pub(crate) greeting: Greeting,
}

/// Connects to one host, within the connection timeout of `url`.
///
/// Errors name the broker by `display_url`, which has no password. The broker's user interface
/// shows the connection as `name`.
pub(crate) async fn dial(
    url: &AmqpUrl,
    display_url: &str,
    tls: &Tls,
    host: &Host,
    name: &str,
) -> Result<Dialed, ConnectError> {
    let address = format!("{}:{}", host.name, host.port);
    let unreachable = |reason: String, source: Option<io::Error>| ConnectError::Unreachable {
        url: display_url.to_owned(),
        reason: format!("{address}: {reason}"),
        source: source.map(Into::into),
    };
    let limit = url.connection_timeout;
    let socket = SocketHandle::default();
    // Whether the TLS handshake is under way, which distinguishes its failures from others.
    let handshaking = Arc::new(AtomicBool::new(false));
    let attempt = async {
        let addresses = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
        let addresses: Vec<SocketAddr> =
            addresses.map_err(|error| unreachable(error.to_string(), Some(error)))?.collect();
        let (socket, in_handshake) = (socket.clone(), handshaking.clone());
        let (tls, host_name) = (tls.clone(), host.name.clone());
        let runtime = lapin::runtime::default_runtime()
            .map_err(|error| unreachable(error.to_string(), None))?;
        Connection::connector(
            uri(url, host),
            runtime,
            // Runs in lapin's own thread and continues there if `dial` is dropped or times out:
            // hence a timeout for each of its steps.
            async move |_, runtime| {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in &addresses {
                    match timeout(limit, AsyncTcpStream::connect(&runtime, *address)).await {
                        Ok(Ok(stream)) => {
                            if let AsyncTcpStream::Plain(plain) = &stream {
                                socket.attach(plain.get_ref())?;
                            }
                            // Release: pairs with the acquiring load of the task that reads the
                            // error of this thread.
                            in_handshake.store(true, Ordering::Release);
                            let stream = timeout(limit, tls.secure(stream, &host_name));
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
                (Some(refusal), _) => refused(url, display_url, refusal),
                // `InvalidData` is a certificate or a protocol that rustls rejects. A peer that
                // ends the connection during the handshake is unreachable instead.
                (None, Some(io)) if in_handshake && io.kind() == io::ErrorKind::InvalidData => {
                    ConnectError::Tls {
                        url: display_url.to_owned(),
                        reason: format!("{address}: {io}"),
                    }
                }
                (None, Some(io)) => {
                    unreachable(io.to_string(), Some(io::Error::new(io.kind(), io.to_string())))
                }
                (None, None) => unreachable(error.to_string(), None),
            }
        })
    };
    let result = timeout(limit, attempt).await;
    let result =
        result.unwrap_or_else(|_| Err(unreachable(format!("no reply within {limit:?}"), None)));
    match result {
        Ok(connection) => {
            let (host, tls, version) = (host.clone(), tls.clone(), OnceCell::new());
            Ok(Dialed { connection, socket, greeting: Greeting { host, tls, limit, version } })
        }
        Err(error) => {
            socket.shut_down();
            Err(error)
        }
    }
}

/// The error for a broker that refused the connection.
fn refused(url: &AmqpUrl, display_url: &str, refusal: Refusal) -> ConnectError {
    let (display_url, user) = (display_url.to_owned(), url.user.clone());
    let reason = refusal.text;
    match refusal.code {
        ACCESS_REFUSED => ConnectError::Credentials { url: display_url, user, reason },
        // A full connection limit has the same code, but is temporary: it counts as unreachable.
        NOT_ALLOWED if reason.contains("vhost") && !reason.contains("limit") => {
            ConnectError::VirtualHost { url: display_url, vhost: url.vhost.clone(), user, reason }
        }
        _ => ConnectError::Unreachable { url: display_url, reason, source: None },
    }
}

fn uri(url: &AmqpUrl, host: &Host) -> AMQPUri {
    AMQPUri {
        // Read only by lapin's own connector, which `dial` replaces.
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
