//! Health over HTTP, for those who run fleets.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 16;

/// How long a connection may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// The first line of a request is no longer.
const LINE: usize = 1_024;

/// Answers `/livez`, and `/readyz` by `is_ready`, until it is dropped.
pub(super) struct Health {
    serving: JoinHandle<()>,
    #[cfg(test)]
    address: SocketAddr,
}

impl Health {
    /// # Errors
    /// When the address cannot be listened at.
    pub(super) async fn serve(
        address: SocketAddr,
        is_ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        #[cfg(test)]
        let address = listener.local_addr()?;
        let is_ready = Arc::new(is_ready);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let serving = tokio::spawn(async move {
            while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else {
                    // Out of descriptors, most likely: others will give some back.
                    tokio::time::sleep(DEADLINE).await;
                    continue;
                };
                let is_ready = Arc::clone(&is_ready);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(DEADLINE, answer(stream, &*is_ready)).await;
                    drop(permit);
                });
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

async fn answer(mut stream: TcpStream, is_ready: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.contains(&b'\n') && request.len() < LINE {
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
            ("503 Service Unavailable", "not connected, not consuming or draining\n")
        }
        (Some("GET" | "HEAD"), Some(_)) => ("404 Not Found", "there are /livez and /readyz\n"),
        _ => ("400 Bad Request", "GET /livez or GET /readyz\n"),
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
        let (asked, local) = (Arc::clone(&ready), SocketAddr::from(([127, 0, 0, 1], 0)));
        let health = Health::serve(local, move || asked.load(Ordering::SeqCst)).await.unwrap();
        let readyz = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(get(health.address, readyz).await.contains("503"));
        assert!(get(health.address, "GET /livez HTTP/1.0\r\n\r\n").await.contains("200"));
        ready.store(true, Ordering::SeqCst);
        assert!(get(health.address, readyz).await.contains("200"));
        assert!(get(health.address, "GET / HTTP/1.0\r\n\r\n").await.contains("404"));
        assert!(get(health.address, "nonsense\n").await.contains("400"));
    }
}
