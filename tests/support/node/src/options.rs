//! The options of a node.

use serde_json::{Value, json};

/// The options of a node. The default is a broker without plugins, with the user `guest`.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NodeOptions {
    pub(crate) config: Vec<String>,
    pub(crate) advanced: Vec<String>,
    pub(crate) plugins: Vec<String>,
    pub(crate) tls: Option<TlsIdentity>,
    pub(crate) port: Option<u16>,
    virtual_hosts: Vec<String>,
    users: Vec<(String, String)>,
    permissions: Vec<Value>,
}

/// The permissions of a user in one virtual host, as regular expressions over names.
#[derive(Debug, Clone)]
pub struct Permissions<'a> {
    /// Exchanges and queues that the user may declare and delete.
    pub configure: &'a str,
    /// Exchanges that the user may publish to, and queues that it may bind.
    pub write: &'a str,
    /// Queues that the user may consume from, and exchanges that it may bind to.
    pub read: &'a str,
}

impl Permissions<'static> {
    /// Every permission.
    pub const ALL: Self = Self { configure: ".*", write: ".*", read: ".*" };
}

/// The certificate of a TLS listener, in PEM.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// The authority that signed the certificate.
    pub authority: String,
    /// The certificate, for the name `localhost`.
    pub certificate: String,
    /// The private key of the certificate.
    pub key: String,
}

#[cfg(feature = "tls")]
impl TlsIdentity {
    /// Generates a certificate and the authority that signs it, which no client trusts by default.
    ///
    /// # Errors
    /// If the system provides no randomness.
    pub fn generate() -> Result<Self, rcgen::Error> {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

        // The names must differ: a certificate with the name of its issuer counts as self-signed.
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::CommonName, "phalanx test authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let authority = parameters.self_signed(&authority_key)?;
        let issuer = Issuer::new(parameters, authority_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = parameters.signed_by(&key, &issuer)?;
        Ok(Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl NodeOptions {
    /// A broker without plugins, with the user `guest`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the port on 127.0.0.1. The default is any free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds a line to the node's `rabbitmq.conf`, such as `consumer_timeout = 60000`.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Adds a setting that `rabbitmq.conf` does not support: an Erlang term of the application
    /// `rabbit`, such as `{channel_tick_interval, 500}`.
    pub fn advanced(mut self, term: impl Into<String>) -> Self {
        self.advanced.push(term.into());
        self
    }

    /// Enables a plugin by its name.
    pub fn plugin(mut self, name: impl Into<String>) -> Self {
        self.plugins.push(name.into());
        self
    }

    /// Adds a TLS listener, see [`PrivateNode::tls_url`](crate::PrivateNode::tls_url).
    pub fn tls(mut self, identity: TlsIdentity) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Adds a virtual host.
    pub fn virtual_host(mut self, name: impl Into<String>) -> Self {
        self.virtual_hosts.push(name.into());
        self
    }

    /// Adds a user without permissions.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Sets the permissions of a user in a virtual host.
    pub fn allow(mut self, user: &str, virtual_host: &str, permissions: &Permissions<'_>) -> Self {
        self.permissions.push(json!({
            "user": user,
            "vhost": virtual_host,
            "configure": permissions.configure,
            "write": permissions.write,
            "read": permissions.read,
        }));
        self
    }

    /// The definitions that the node loads when it boots. With definitions, RabbitMQ creates no
    /// default user, so `guest` and `/` are always among them.
    pub(crate) fn definitions(&self) -> Value {
        let plain = Self::default().virtual_host("/").user("guest", "guest").allow(
            "guest",
            "/",
            &Permissions::ALL,
        );
        let hosts = plain.virtual_hosts.iter().chain(&self.virtual_hosts);
        let users = plain.users.iter().chain(&self.users);
        json!({
            "vhosts": hosts.map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "users": users
                .map(|(name, password)| json!({ "name": name, "password": password, "tags": "" }))
                .collect::<Vec<_>>(),
            "permissions": plain.permissions.iter().chain(&self.permissions).collect::<Vec<_>>(),
        })
    }
}
