//! TLS to the sidecar that is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Failed, Fault};

const SCHEME: &str = "https://";

/// Whose certificates count, and which is shown.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Files {
    /// With https://: a PEM file of the CAs whose certificates count.
    #[arg(long, value_name = "FILE", env = "HOPWISE_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// With https://: the name in the server's certificate, where it is not HOST.
    #[arg(long, value_name = "NAME", env = "HOPWISE_SERVER_NAME")]
    server_name: Option<String>,
    /// With https://: a PEM file of the certificate that is shown, for admin.tls.ca_file.
    #[arg(long, value_name = "FILE", env = "HOPWISE_CERTIFICATE_FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// The PEM file of its key.
    #[arg(long, value_name = "FILE", env = "HOPWISE_KEY_FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
}

/// What is needed to speak TLS with one server.
#[derive(Clone)]
pub(super) struct Secure {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Files {
    /// `HOST:PORT` of `address`, and how to speak TLS where that says https.
    pub(super) fn at(
        &self,
        address: &str,
        option: &str,
    ) -> anyhow::Result<(String, Option<Secure>)> {
        let bare = address.trim_start_matches("http://").trim_start_matches(SCHEME);
        if !is_host_and_port(bare.trim_end_matches('/')) {
            let remedy = "write one, as 127.0.0.1:31114 or https://node.example:31114";
            return Err(
                Failed::Usage(format!("{option}: {address:?} is no HOST:PORT; {remedy}")).into()
            );
        }
        let plain = address.trim_start_matches("http://").trim_end_matches('/');
        let Some(secure) = plain.strip_prefix(SCHEME) else {
            // Whoever says whose certificates count does not mean to show a token to anybody.
            let tls = [&self.ca_file, &self.certificate_file].into_iter().flatten().next();
            ensure!(
                tls.is_none(),
                "{plain} is asked without TLS, for which files are given; write {SCHEME}{plain}"
            );
            return Ok((plain.to_owned(), None));
        };
        let host = secure.rsplit_once(':').map_or(secure, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .with_context(|| format!("--server-name: {name} is no name that a certificate has"))?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        Ok((secure.to_owned(), Some(Secure { connector, name })))
    }

    fn config(&self) -> anyhow::Result<ClientConfig> {
        let Some(ca) = &self.ca_file else {
            bail!("{SCHEME} needs the CAs whose certificates count; name their file by --ca-file");
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("--ca-file", ca)? {
            let unusable = || format!("--ca-file: {} cannot be used", ca.display());
            roots.add(certificate).with_context(unusable)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("--certificate-file", certificate)?;
                let unreadable = || format!("--key-file: cannot read a key in {}", key.display());
                let key = PrivateKeyDer::from_pem_file(key).with_context(unreadable)?;
                let apart = "--key-file: does not go with --certificate-file";
                builder.with_client_auth_cert(chain, key).context(apart)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Secure {
    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
        let connected = self.connector.connect(self.name.clone(), stream).await;
        connected.map_err(|error| {
            fault(&error).unwrap_or_else(|| Fault::Insecure(format!("no TLS with it: {error}")))
        })
    }
}

/// `HOST:PORT`, where neither is empty.
fn is_host_and_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// What `error` says of TLS, if that is its cause. In TLS 1.3 a server turns a certificate down, or
/// none, only after the handshake has ended here.
pub(super) fn fault(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let of_tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error) = of_tls.or_else(|| error.downcast_ref()) {
            return Some(fault_of(error));
        }
        next = error.source();
    }
    None
}

fn fault_of(error: &rustls::Error) -> Fault {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        AlertReceived(_) => Fault::TurnedDown(error.to_string()),
        InvalidMessage(_) => {
            Fault::Insecure("it does not speak TLS; leave out https:// and the files".to_owned())
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            Fault::Insecure(format!("{error}; give the name it has by --server-name"))
        }
        InvalidCertificate(UnknownIssuer) => {
            Fault::Insecure(format!("{error}; name the file of its CA by --ca-file"))
        }
        _ => Fault::Insecure(format!("no TLS with it: {error}")),
    }
}

/// The certificates in `path`, of which there must be one at least.
fn certificates(option: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("{option}: cannot read certificates in {}", path.display());
    let found = CertificateDer::pem_file_iter(path).with_context(unreadable)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().with_context(unreadable)?;
    ensure!(!found.is_empty(), "{option}: {} holds no certificate", path.display());
    Ok(found)
}
