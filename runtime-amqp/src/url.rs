//! Parses `amqp://` and `amqps://` URLs.

use std::{path::PathBuf, time::Duration};

use phalanx_core::broker::{BrokerUrl, ConnectError, UrlParts, is_plain_user};

/// A parsed `amqp://` or `amqps://` URL. Deliberately without `Debug`, because it holds the
/// password.
pub(crate) struct AmqpUrl {
    /// The nodes of the cluster, tried in turn; at least one.
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) vhost: String,
    pub(crate) tls: bool,
    /// A PEM file of certificates to trust instead of the system's.
    pub(crate) cacertfile: Option<PathBuf>,
    /// The heartbeat interval in seconds, default 10; after two of them without any data from the
    /// broker, the connection ends.
    pub(crate) heartbeat: u16,
    /// The time limit of one attempt to connect to one host; 10 s by default.
    pub(crate) connection_timeout: Duration,
}

/// One host of a URL; the port defaults to 5672, or 5671 with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

const DEFAULT_HEARTBEAT: u16 = 10;
const DEFAULT_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The length of a short string of AMQP.
const MAX_VHOST_BYTES: usize = 255;

impl AmqpUrl {
    /// Parses `amqp[s]://[user[:password]@]host[:port][,host[:port]…][/vhost][?parameters]`.
    pub(crate) fn parse(url: &BrokerUrl) -> Result<Self, ConnectError> {
        parse(url.expose_secrets())
            .map_err(|reason| ConnectError::Url { url: url.to_string(), reason })
    }
}

/// Errors never quote the URL: one unescaped `/` or `@` in the password puts a part of it anywhere
/// in the URL.
fn parse(url: &str) -> Result<AmqpUrl, String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let tls = match scheme {
        "amqp" => false,
        "amqps" => true,
        _ => return Err("the scheme is neither `amqp` nor `amqps`".to_owned()),
    };
    let UrlParts { credentials, hosts, path, query } = UrlParts::of(rest);
    let (user, password) = match credentials {
        Some(credentials) => {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, "guest"));
            // Errors show the user: it must not be a user and a password with a wrong separator.
            if !is_plain_user(user) {
                return Err("the user has a character that must be escaped; write \
                            `user:password@host`, and other characters as `%` and two hex digits"
                    .to_owned());
            }
            (decode(user, "user")?, decode(password, "password")?)
        }
        None => ("guest".to_owned(), "guest".to_owned()),
    };
    let vhost = path.unwrap_or_default();
    // Errors show the virtual host, too.
    if vhost.contains('#') {
        return Err("a URL of a broker has no fragment; write a `#` as `%23`".to_owned());
    }
    let vhost = match decode(vhost, "virtual host")? {
        // `amqp://host/` means the default virtual host to most people; strictly it is one without
        // a name.
        empty if empty.is_empty() => "/".to_owned(),
        vhost if vhost.len() > MAX_VHOST_BYTES => {
            return Err(format!("the virtual host is longer than {MAX_VHOST_BYTES} bytes"));
        }
        vhost => vhost,
    };
    let default_port = if tls { 5671 } else { 5672 };
    let hosts =
        hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<_, _>>()?;

    let mut parsed = AmqpUrl {
        hosts,
        user,
        password,
        vhost,
        tls,
        cacertfile: None,
        heartbeat: DEFAULT_HEARTBEAT,
        connection_timeout: DEFAULT_CONNECTION_TIMEOUT,
    };
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty())
    {
        parsed.set(parameter)?;
    }
    Ok(parsed)
}

impl AmqpUrl {
    /// Refuses unknown parameters: a mistyped `cacertfile` must not silently trust the system's
    /// certificates.
    fn set(&mut self, parameter: &str) -> Result<(), String> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let number = || format!("the value of `{name}` is not a number, or is too large");
        match name {
            "heartbeat" => self.heartbeat = value.parse().map_err(|_| number())?,
            "connection_timeout" => {
                let milliseconds = value.parse::<u32>().map_err(|_| number())?;
                self.connection_timeout = Duration::from_millis(milliseconds.max(1).into());
            }
            "cacertfile" if !self.tls => {
                return Err("`cacertfile` is only allowed with `amqps://`".to_owned());
            }
            "cacertfile" => self.cacertfile = Some(decode(value, "cacertfile")?.into()),
            _ => {
                return Err("unknown parameter; use `heartbeat`, `connection_timeout` or \
                            `cacertfile` (and write a `?` in a password as `%3F`)"
                    .to_owned());
            }
        }
        Ok(())
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<Host, String> {
    let (name, port) = match text.strip_prefix('[') {
        // An IPv6 address, whose colons do not separate a port.
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or("a `[` is not closed by `]`")?;
            (name, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("")),
        },
    };
    let name = decode(name, "host")?;
    if name.is_empty() {
        return Err("a host is missing".to_owned());
    }
    // Errors show the host: it must not be a part of the password.
    if !name.chars().all(|c| c.is_alphanumeric() || "._-:%".contains(c)) {
        return Err("a host has a character that host names do not have; write the password \
                    before an `@`, and `@`, `/`, `?` and `#` in it as `%40`, `%2F`, `%3F` and `%23`"
            .to_owned());
    }
    let port = match port {
        Some("") => default_port,
        port => port
            .and_then(|port| port.parse().ok())
            .ok_or("a port is not a number from 0 to 65535")?,
    };
    Ok(Host { name, port })
}

/// Decodes `%xx`; errors name the part of the URL as `what`.
fn decode(text: &str, what: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let byte = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("a `%` in the {what} is not followed by two hex digits"))?;
        bytes.push(byte);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("the {what} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn all_parts_of_a_url_are_parsed() {
        let url = parse(
            "amqp://ann:p%40ss@one:1,two,[::1]:3/v%2fhost?heartbeat=7&connection_timeout=250",
        )
        .unwrap();
        assert_eq!(url.hosts, [host("one", 1), host("two", 5672), host("::1", 3)]);
        assert_eq!((url.user.as_str(), url.password.as_str()), ("ann", "p@ss"));
        assert_eq!(url.vhost, "v/host");
        assert_eq!(url.heartbeat, 7);
        assert_eq!(url.connection_timeout, Duration::from_millis(250));
        assert!(!url.tls);
    }

    #[test]
    fn missing_parts_of_a_url_have_the_usual_defaults() {
        for text in ["amqp://localhost", "amqp://localhost/", "amqp://localhost/%2f"] {
            let url = parse(text).unwrap();
            assert_eq!(url.hosts, [host("localhost", 5672)]);
            assert_eq!((url.user.as_str(), url.password.as_str()), ("guest", "guest"));
            assert_eq!((url.vhost.as_str(), url.heartbeat), ("/", 10));
        }
        assert_eq!(parse("amqps://host").unwrap().hosts, [host("host", 5671)]);
    }

    #[test]
    fn a_password_may_contain_unescaped_separators() {
        for password in ["se@c/r:et", "se?cret", "?secret", "s#e?c@r?et"] {
            let url = parse(&format!("amqp://ann:{password}@host/v?heartbeat=7")).unwrap();
            assert_eq!((url.password.as_str(), url.vhost.as_str()), (password, "v"));
            assert_eq!((&url.hosts[..], url.heartbeat), (&[host("host", 5672)][..], 7));
        }
        let url = parse("amqps://host?cacertfile=/etc/a@b.pem").unwrap();
        assert_eq!(url.cacertfile, Some(PathBuf::from("/etc/a@b.pem")));
    }

    /// Everything that errors and logs may show: the URL, the reason, the user, the hosts and the
    /// virtual host.
    #[test]
    fn no_mistyped_url_shows_its_password() {
        const SECRET: &str = "Zs3cr3tZ";
        for separator in [":", "@", ";", "#", "?", "|", " ", "\\", "&", "=", "//", "::", "%zz"] {
            for text in [
                format!("amqp://bob{separator}{SECRET}"),
                format!("amqp://bob{separator}{SECRET}@host"),
                format!("amqp://bob{separator}{SECRET}@host/v?heartbeat=1"),
                format!("amqp://bob:{SECRET}{separator}host/"),
                format!("amqp://bob:{SECRET}{separator}host:5672/%2f"),
                format!("amqp://bob:x{separator}{SECRET}@host/"),
                format!("amqp://bob:{SECRET}{separator}x@host/"),
                format!("amqp://host/%2f#bob{separator}{SECRET}"),
                format!("amqp://host:5672?user=bob&password{separator}{SECRET}"),
                format!("amqp:/bob{separator}{SECRET}@host"),
                format!("bob{separator}{SECRET}@host"),
            ] {
                let shown = match BrokerUrl::parse(&text) {
                    Err(error) => error.to_string(),
                    Ok(url) => match AmqpUrl::parse(&url) {
                        Err(error) => format!("{url} {error}"),
                        Ok(parsed) => {
                            format!("{url} {} {:?} {}", parsed.user, parsed.hosts, parsed.vhost)
                        }
                    },
                };
                // Whole and right: a host or a virtual host of that name.
                let is_meant = [format!("amqp://bob@{SECRET}"), format!("amqp://bob//{SECRET}")];
                assert!(is_meant.contains(&text) || !shown.contains(SECRET), "{text}: {shown}");
            }
        }
    }

    #[test]
    fn errors_of_malformed_urls_do_not_quote_the_password() {
        for text in [
            "amqp://ann:secret@host:secret/v",
            "amqp://ann:secret",
            "amqp://ann:secret%zz@host",
            "amqp://ann:secret@",
            "amqp://ann:secret@[::1/v",
            "amqp://ann:secret@[::1]secret/v",
            "amqp://ann:x@host?secret=1",
            "amqp://ann:x@host?heartbeat=secret",
            "amqp://ann:x@host?cacertfile=secret",
        ] {
            let reason = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(!reason.contains("secret"), "{text}: {reason}");
        }
        assert!(parse(&format!("amqp://host/{}", "v".repeat(256))).is_err());
    }
}
