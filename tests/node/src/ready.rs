//! Whether somebody speaks AMQP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// Whether something listens on the port.
pub(crate) fn listens(port: u16) -> bool {
    connect(port).is_ok()
}

/// Whether a broker on the port answers the protocol header with a method frame.
///
/// RabbitMQ opens its listener last, so a broker that answers can be used.
pub(crate) fn speaks_amqp(port: u16) -> bool {
    let answer = || -> std::io::Result<u8> {
        let mut stream = connect(port)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    const METHOD_FRAME: u8 = 1;
    answer().is_ok_and(|first| first == METHOD_FRAME)
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)
}
