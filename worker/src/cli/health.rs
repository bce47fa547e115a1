//! Liveness and readiness over HTTP, for orchestrators.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};

/// The number of connections that are served at the same time. One more ends the oldest: a probe
/// sends its request at once, and must not wait for connections that send none.
const MAX_CONNECTIONS: usize = 256;

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest time that one connection takes.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes of a request that are read: only its first line matters.
const MAX_REQUEST_BYTES: usize = 1_024;

/// Responds to `GET /livez` with 200, and to `GET /readyz` with 200 or 503, until it is dropped.
pub(super) struct Health {
    serving: JoinHandle<()>,
    #[cfg(test)]
    address: SocketAddr,
}

impl Health {
    /// # Errors
    /// If the process cannot listen at the address.
    pub(super) async fn serve(
        address: SocketAddr,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        #[cfg(test)]
        let address = listener.local_addr()?;
        let is_ready = Arc::new(is_ready);
        let serving = tokio::spawn(async move {
            let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
            loop {
                let accepted = listener.accept().await;
                oldest_first.retain(|connection| !connection.is_finished());
                let Ok((stream, _)) = accepted else {
                    // Most likely out of file descriptors.
                    oldest_first.drain(..).for_each(|connection| connection.abort());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                if oldest_first.len() >= MAX_CONNECTIONS
                    && let Some(oldest) = oldest_first.pop_front()
                {
                    oldest.abort();
                }
                let is_ready = Arc::clone(&is_ready);
                let connection = tokio::spawn(async move {
                    let response = respond(stream, &*is_ready);
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, response).await;
                });
                oldest_first.push_back(connection.abort_handle());
            }
        });
        Ok(Self {
            serving,
            #[cfg(test)]
            address,
        })
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn respond(mut stream: TcpStream, is_ready: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.contains(&b'\n') && request.len() < MAX_REQUEST_BYTES {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&request);
    let mut words = line.split_ascii_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/livez")) => ("200 OK", "alive\n"),
        (Some("GET" | "HEAD"), Some("/readyz")) if is_ready() => ("200 OK", "ready\n"),
        (Some("GET" | "HEAD"), Some("/readyz")) => {
            ("503 Service Unavailable", "not connected, not consuming, or draining\n")
        }
        (Some("GET" | "HEAD"), Some(_)) => ("404 Not Found", "use /livez or /readyz\n"),
        _ => ("400 Bad Request", "use GET /livez or GET /readyz\n"),
    };
    let length = body.len();
    let body = if line.starts_with("HEAD") { "" } else { body };
    let response = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn get(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn readiness_follows_the_worker_and_liveness_does_not() {
        let ready = Arc::new(AtomicBool::new(false));
        let (checked, local) = (Arc::clone(&ready), SocketAddr::from(([127, 0, 0, 1], 0)));
        let health = Health::serve(local, move || checked.load(Ordering::SeqCst)).await.unwrap();
        let readyz = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(get(health.address, readyz).await.contains("503"));
        assert!(get(health.address, "GET /livez HTTP/1.0\r\n\r\n").await.contains("200"));
        ready.store(true, Ordering::SeqCst);
        assert!(get(health.address, readyz).await.contains("200"));
        assert!(get(health.address, "GET / HTTP/1.0\r\n\r\n").await.contains("404"));
        assert!(get(health.address, "nonsense\n").await.contains("400"));
    }

    #[tokio::test]
    async fn a_probe_does_not_wait_for_connections_that_send_no_request() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let health = Health::serve(local, || true).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            idle.push(TcpStream::connect(health.address).await.unwrap());
        }
        // Served in turn, they would take a minute.
        let probe = get(health.address, "GET /livez HTTP/1.0\r\n\r\n");
        let response = tokio::time::timeout(Duration::from_secs(20), probe).await;
        assert!(response.expect("a response").contains("200"));
        drop(idle);
    }
}
