//! Checks whether a broker is ready.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
const METHOD_FRAME: u8 = 1;

/// Whether a process listens on the port.
pub(crate) fn listens(port: u16) -> bool {
    connect(port).is_ok()
}

/// Whether a broker on the port responds to the protocol header with a method frame.
///
/// RabbitMQ opens its listener last, so a broker that responds is ready.
pub(crate) fn speaks_amqp(port: u16) -> bool {
    greeting(port).is_ok()
}

/// The version that the broker on the port reports.
pub(crate) fn version(port: u16) -> Option<String> {
    // An entry of the server properties: the name, the type `S`, the length, the value.
    const NAME: &[u8] = b"\x07versionS";
    let greeting = greeting(port).ok()?;
    let place = greeting.windows(NAME.len()).position(|bytes| bytes == NAME)? + NAME.len();
    let (length, rest) = greeting.get(place..)?.split_first_chunk::<4>()?;
    let value = rest.get(..u32::from_be_bytes(*length).try_into().ok()?)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The payload of the first frame: the method `connection.start`.
fn greeting(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    // Type, channel (two bytes), and length of the payload (four).
    let mut header = [0; 7];
    stream.read_exact(&mut header)?;
    let [METHOD_FRAME, _, _, a, b, c, d] = header else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut payload = Vec::new();
    stream.take(u32::from_be_bytes([a, b, c, d]).into()).read_to_end(&mut payload)?;
    Ok(payload)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)
}
