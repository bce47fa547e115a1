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
            Some((scheme, _)) if is_scheme(scheme) => Ok(parsed),
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), self.0.as_str()),
        };
        // The last `@` ends the credentials: a password may contain an unescaped `@` or `?` and
        // must be hidden nevertheless. A query may contain secrets, too.
        let place = rest.rfind('@').map_or(0, |at| at + 1);
        let (rest, query) = match rest[place..].find('?') {
            Some(query) => (&rest[..place + query], "?***"),
            None => (rest, ""),
        };
        match rest.rsplit_once('@') {
            Some((credentials, place)) => {
                let user = credentials.split_once(':').map_or(credentials, |(user, _)| user);
                let hidden = if credentials.contains(':') { ":***" } else { "" };
                write!(f, "{scheme}{user}{hidden}@{place}{query}")
            }
            None => write!(f, "{scheme}{rest}{query}"),
        }
    }
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
