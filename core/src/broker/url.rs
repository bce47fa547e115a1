//! URLs of brokers.

use std::fmt;

use super::ConnectError;

/// The URL of a broker. `Display` and `Debug` replace its password by `***`.
///
/// ```
/// use phalanx::broker::BrokerUrl;
///
/// let url = BrokerUrl::parse("amqp://ann:secret@rabbit.example.org/jobs")?;
/// assert_eq!(url.scheme(), "amqp");
/// assert_eq!(url.to_string(), "amqp://ann:***@rabbit.example.org/jobs");
/// # Ok::<(), phalanx::error::ConnectError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(String);

impl BrokerUrl {
    /// The URL of the broker in this process; the default.
    pub const MEMORY: &'static str = "memory://";

    /// Parses a URL. Only the scheme is checked; the broker of that scheme parses the rest.
    ///
    /// # Errors
    /// If the URL has no scheme.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let parsed = Self(url.trim().to_owned());
        match parsed.0.split_once("://") {
            // Schemes are case-insensitive.
            Some((scheme, rest)) if is_scheme(scheme) => {
                Ok(Self(format!("{}://{rest}", scheme.to_ascii_lowercase())))
            }
            _ => Err(ConnectError::Url {
                url: parsed.to_string(),
                reason: "write `memory://`, or `amqp://user:password@host/vhost`".to_owned(),
            }),
        }
    }

    /// The URL of the broker in this process.
    pub fn memory() -> Self {
        Self(Self::MEMORY.to_owned())
    }

    /// The scheme: the part before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The whole URL with its secrets, to connect. Never log it.
    pub fn expose_secrets(&self) -> &str {
        &self.0
    }
}

fn is_scheme(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

impl fmt::Display for BrokerUrl {
    /// Shows only what cannot be a misplaced part of the password: one unescaped `/`, `?`, `@` or
    /// `#` puts such a part anywhere in the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), self.0.as_str()),
        };
        let UrlParts { credentials, hosts, path, query } = UrlParts::of(rest);
        let mut shown = scheme;
        if let Some(credentials) = credentials {
            let (user, hidden) = match credentials.split_once(':') {
                Some((user, _)) => (user, ":***"),
                None => (credentials, ""),
            };
            if !is_plain_user(user) {
                // What follows the last `@` may be a part of the password, too.
                return write!(f, "{shown}***");
            }
            shown.extend([user, hidden, "@"]);
        }
        let is_host_list = hosts.split(',').all(is_host);
        shown.push_str(if is_host_list || hosts.is_empty() { hosts } else { "***" });
        match path {
            Some(path) if is_host_list && is_plain_path(path) => shown.extend(["/", path]),
            Some(_) => shown.push_str("/***"),
            None => {}
        }
        shown.push_str(if query.is_some() { "?***" } else { "" });
        f.write_str(&shown)
    }
}

/// The parts of a URL behind its scheme, undecoded.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// What precedes the last `@`.
    pub credentials: Option<&'a str>,
    pub hosts: &'a str,
    /// What follows the `/` behind the hosts.
    pub path: Option<&'a str>,
    pub query: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    /// Splits a URL behind its scheme. Passwords may contain an unescaped `@`, `/` or `?`.
    pub fn of(rest: &'a str) -> Self {
        // A `?` begins the query, unless what precedes it names no hosts: then it belongs to the
        // password, and the query begins behind the last `@`.
        if let Some((before, query)) = rest.split_once('?') {
            let parts = Self::without_query(before);
            if parts.hosts.split(',').all(is_host) || !query.contains('@') {
                return Self { query: Some(query), ..parts };
            }
        }
        let place = rest.rfind('@').map_or(0, |at| at + 1);
        match rest[place..].find('?') {
            Some(query) => {
                let (before, query) = (&rest[..place + query], &rest[place + query + 1..]);
                Self { query: Some(query), ..Self::without_query(before) }
            }
            None => Self::without_query(rest),
        }
    }

    fn without_query(rest: &'a str) -> Self {
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (hosts, path) = match place.split_once('/') {
            Some((hosts, path)) => (hosts, Some(path)),
            None => (place, None),
        };
        Self { credentials, hosts, path, query: None }
    }
}

/// Whether an undecoded user is certainly no user and password with a wrong separator.
#[doc(hidden)]
pub fn is_plain_user(user: &str) -> bool {
    let is_escape = |text: &str| {
        text.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    user.chars().all(|c| c.is_alphanumeric() || "._-+~%".contains(c))
        && user.split('%').skip(1).all(is_escape)
}

/// Whether this is a host name or an IP address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address =
                address.chars().all(|c| c.is_ascii_alphanumeric() || ":.%".contains(c));
            return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => text.split_once(':').unwrap_or((text, "0")),
    };
    let is_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.chars().all(is_name) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

fn is_plain_path(path: &str) -> bool {
    path.chars().all(|c| c.is_alphanumeric() || "._-+~%/".contains(c))
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_url_hides_its_password() {
        for (url, shown) in [
            ("amqp://ann:se@cret@host/v", "amqp://ann:***@host/v"),
            ("amqp://ann:secret@a,b:1/v?cacertfile=x", "amqp://ann:***@a,b:1/v?***"),
            ("amqp://ann:se?cret@host/v?x=y", "amqp://ann:***@host/v?***"),
            ("amqp://ann:secret@[::1]:5,b/v%2f1", "amqp://ann:***@[::1]:5,b/v%2f1"),
            ("amqp://bob:secret", "amqp://***"),
            ("amqp://bob@secret@host/", "amqp://***"),
            ("amqp://bob;secret@host/", "amqp://***"),
            ("amqp://host/%2f#bob:secret", "amqp://host/***"),
            ("AMQP://ann@host", "amqp://ann@host"),
            ("amqp://host", "amqp://host"),
            ("memory://", "memory://"),
        ] {
            assert_eq!(BrokerUrl::parse(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_url_without_a_scheme_is_rejected_without_showing_its_password() {
        let error = BrokerUrl::parse("ann:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
