//! The parts of a broker's URL.

/// The parts of an AMQP URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// `user:password`.
    pub credentials: String,
    /// `host:port`; a list separated by commas for a cluster.
    pub host: String,
    /// The virtual host and the parameters, with the leading slash.
    pub rest: String,
}

impl Parts {
    /// Splits a URL. Missing parts have the defaults of RabbitMQ: user `guest`, port 5672.
    pub fn of(url: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (credentials, place) = rest.rsplit_once('@').unwrap_or(("guest:guest", rest));
        let at = place.find('/').unwrap_or(place.len());
        let port = if place[..at].contains(':') { "" } else { ":5672" };
        Self {
            credentials: credentials.to_owned(),
            host: format!("{}{port}", &place[..at]),
            rest: place[at..].to_owned(),
        }
    }

    /// The same URL with another host.
    pub fn at(&self, host: &str) -> String {
        format!("amqp://{}@{host}{}", self.credentials, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_and_reassembled() {
        let parts = Parts::of("amqp://ann:p%40ss@broker:7/v%2fhost?heartbeat=1");
        assert_eq!((&parts.credentials[..], &parts.host[..]), ("ann:p%40ss", "broker:7"));
        assert_eq!(parts.at("127.0.0.1:9"), "amqp://ann:p%40ss@127.0.0.1:9/v%2fhost?heartbeat=1");
        let parts = Parts::of("amqp://broker");
        assert_eq!(parts.at(&parts.host), "amqp://guest:guest@broker:5672");
    }
}
