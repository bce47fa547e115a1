//! The version of the broker, which decides the arguments of some queues.

/// The version of a broker, without its patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerVersion {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl ServerVersion {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// From a text such as `3.10.8` or `4.3.0-rc.1`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Self::new(number()?, number()?))
    }

    /// From the method `connection.start`, the first that a broker sends; `None` if its server
    /// properties have no version that can be read.
    pub(crate) fn of_start(frame: &[u8]) -> Option<Self> {
        /// The name of the property as AMQP encodes it, and the type of its value: a string, of
        /// which the length follows.
        const PROPERTY: &[u8] = b"\x07versionS";
        let at = frame.windows(PROPERTY.len()).position(|window| window == PROPERTY)?;
        let (length, rest) = frame[at + PROPERTY.len()..].split_first_chunk()?;
        let text = rest.get(..u32::from_be_bytes(*length) as usize)?;
        Self::parse(std::str::from_utf8(text).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(version: &[u8]) -> Vec<u8> {
        let properties = [b"\x07productS\0\0\0\x08RabbitMQ\x07versionS", version];
        [&b"\0\x0a\0\x0a\0\x09\0\0\0\x30"[..], &properties.concat()].concat()
    }

    #[test]
    fn the_version_is_read_from_the_server_properties() {
        for (version, expected) in [
            (&b"\0\0\0\x063.10.8\x09platformS"[..], Some(ServerVersion::new(3, 10))),
            (b"\0\0\0\x0a4.3.0-rc.1", Some(ServerVersion::new(4, 3))),
            (b"\0\0\0\x03404", None),
            (b"\0\0\0\x053.x.8", None),
            (b"\0\0\0\x0999999999.1", None),
            (b"\0\0\0\x064.3", None),
            (b"\xff\xff\xff\xff4.3", None),
            (b"\0\0", None),
            (b"", None),
        ] {
            let read = ServerVersion::of_start(&start(version));
            assert_eq!(read, expected, "{}", version.escape_ascii());
        }
        assert_eq!(ServerVersion::of_start(b""), None);
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(ServerVersion::new(3, 9) < ServerVersion::new(3, 12));
        assert!(ServerVersion::new(3, 13) < ServerVersion::new(4, 0));
    }
}
