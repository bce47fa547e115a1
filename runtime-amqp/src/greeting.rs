//! Asks a broker for its version.

use std::{io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::AsyncTcpStream;
use tokio::{sync::OnceCell, time::timeout};

use crate::{tls::Tls, url::Host, version::ServerVersion};

const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Type, channel and size.
const FRAME_HEADER_BYTES: usize = 7;
/// The largest first frame that is read. That of RabbitMQ has about 500 bytes.
const MAX_START_BYTES: usize = 64 << 10;

/// Asks the host of a connection for its version, once.
///
/// lapin does not reveal the server properties, so this opens another connection and leaves it when
/// the broker has introduced itself. The broker logs that as a client that closed unexpectedly.
pub(crate) struct Greeting {
    pub(crate) host: Host,
    pub(crate) tls: Tls,
    /// The limit of each step.
    pub(crate) limit: Duration,
    pub(crate) version: OnceCell<Option<ServerVersion>>,
}

impl Greeting {
    /// The version; `None` if the broker sends none that can be read.
    pub(crate) async fn version(&self) -> io::Result<Option<ServerVersion>> {
        let asked = self.version.get_or_try_init(async || {
            let start = timeout(self.limit, self.start()).await??;
            Ok::<_, io::Error>(ServerVersion::of_start(&start))
        });
        asked.await.copied()
    }

    /// The first frame that the broker sends.
    async fn start(&self) -> io::Result<Vec<u8>> {
        let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in tokio::net::lookup_host((self.host.name.as_str(), self.host.port)).await? {
            match AsyncTcpStream::connect(&runtime, address).await {
                Ok(stream) => {
                    return first_frame(self.tls.secure(stream, &self.host.name).await?).await;
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn first_frame(
    mut stream: impl futures::AsyncRead + futures::AsyncWrite + Unpin,
) -> io::Result<Vec<u8>> {
    stream.write_all(PROTOCOL_HEADER).await?;
    stream.flush().await?;
    let mut header = [0; FRAME_HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let [.., a, b, c, d] = header;
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    if size > MAX_START_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is too large"));
    }
    let mut payload = vec![0; size];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}
