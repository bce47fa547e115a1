//! A broker's URL, which shows no secrets.

use std::fmt;

use super::ConnectError;

/// A broker's URL. What it shows (`Display`, `Debug`) has the password replaced by `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(String);

impl BrokerUrl {
    /// Workers in this process; what is used where nothing else is said.
    pub const MEMORY: &'static str = "memory://";

    /// A URL with a scheme; the rest is up to the broker of that scheme.
    ///
    /// # Errors
    /// When it has no scheme.
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

    /// What stands before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The whole URL, with its secrets: for connecting, never for showing.
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
        // The last `@` ends the credentials: a password may hold an unescaped one (or a `?`), and
        // must not be shown for that. A query may carry secrets too.
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
    fn a_shown_url_keeps_its_password_to_itself() {
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
    fn what_has_no_scheme_is_refused_without_its_password() {
        let error = BrokerUrl::parse("ann:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
