//! TLS for URLs with the scheme `amqps://`.

#[cfg(not(feature = "tls"))]
pub(crate) use absent::Tls;
#[cfg(feature = "tls")]
pub(crate) use present::Tls;

#[cfg(feature = "tls")]
mod present {
    use std::{fmt::Display, io, path::Path};

    use lapin::tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig};
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use crate::url::AmqpUrl;

    /// Wraps streams in TLS if the scheme of the URL is `amqps`.
    #[derive(Clone)]
    pub(crate) struct Tls(Option<RustlsConnector>);

    impl Tls {
        /// Trusts only the certificates in `cacertfile` if the URL has one, otherwise the system's.
        /// They are read once: restart the process to trust others.
        pub(crate) async fn of(url: &AmqpUrl) -> Result<Self, String> {
            if !url.tls {
                return Ok(Self(None));
            }
            let path = url.cacertfile.clone();
            // Reads files and parses hundreds of certificates, which would block an async thread.
            let connector = tokio::task::spawn_blocking(move || connector(path.as_deref())).await;
            Ok(Self(Some(connector.map_err(|error| error.to_string())??)))
        }

        pub(crate) async fn secure<S>(
            &self,
            stream: AsyncTcpStream<S>,
            host: &str,
        ) -> io::Result<AsyncTcpStream<S>>
        where
            S: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
        {
            match &self.0 {
                Some(connector) => stream.into_rustls(connector, host).await,
                None => Ok(stream),
            }
        }
    }

    fn connector(path: Option<&Path>) -> Result<RustlsConnector, String> {
        let config = match path {
            None => RustlsConnectorConfig::new_with_native_certs()
                .map_err(|error| format!("cannot load the system's certificates: {error}"))?,
            Some(path) => {
                let failed = |error: &dyn Display| {
                    format!("cannot load certificates from {}: {error}", path.display())
                };
                let certificates: Vec<CertificateDer<'static>> =
                    CertificateDer::pem_file_iter(path)
                        .and_then(Iterator::collect)
                        .map_err(|error| failed(&error))?;
                if certificates.is_empty() {
                    return Err(failed(&"the file contains none"));
                }
                let mut config = RustlsConnectorConfig::default();
                config.add_parsable_certificates(certificates);
                config
            }
        };
        config.connector_with_no_client_auth().map_err(|error| error.to_string())
    }
}

#[cfg(not(feature = "tls"))]
mod absent {
    use std::io;

    use lapin::tcp::AsyncTcpStream;

    use crate::url::AmqpUrl;

    /// Does nothing: without the feature `tls`, the scheme `amqps` is not registered.
    #[derive(Clone)]
    pub(crate) struct Tls;

    impl Tls {
        pub(crate) async fn of(url: &AmqpUrl) -> Result<Self, String> {
            match url.tls {
                true => Err("add the feature `tls` to the dependency on `phalanx`".to_owned()),
                false => Ok(Self),
            }
        }

        pub(crate) async fn secure<S>(
            &self,
            stream: AsyncTcpStream<S>,
            _: &str,
        ) -> io::Result<AsyncTcpStream<S>>
        where
            S: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
        {
            Ok(stream)
        }
    }
}
