//! Certificates: read from the files that the text names, checked, and made into what connections
//! are opened and taken with.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use super::reader::Fault;
use super::secrets;
use crate::problem::Problem;

/// What sidecars call their protocol in a handshake (ALPN), by which they are told from clients.
pub const PEER_PROTOCOL: &[u8] = b"hopwise/2";

/// HTTP/2 in a handshake.
pub const HTTP2: &[u8] = b"h2";

const HTTP1: &[u8] = b"http/1.1";

/// Most bytes in a file of certificates: more is some other file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most names of a certificate that a problem repeats.
const NAMES_SHOWN_MAX: usize = 10;

/// What this node shows, and demands of others, on encrypted connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// To clients, on the data port.
    pub clients: Option<Arc<Endpoint>>,
    /// To other sidecars and of them, on the data port.
    pub peers: Option<Arc<Endpoint>>,
    /// To operators and of them, on the admin port.
    pub operators: Option<Arc<Endpoint>>,
}

/// A certificate of this node with its key, and whose certificates it trusts.
pub struct Endpoint {
    files: Files,
    digest: Digest,
    /// What connections are taken with.
    pub server: Arc<ServerConfig>,
    /// Whom it trusts, and what it calls others with; none where it trusts nobody.
    pub trust: Option<Trust>,
}

/// Whose certificates are trusted, and what their holders are called with.
pub struct Trust {
    /// Checks the certificate of a caller.
    pub callers: Arc<dyn ClientCertVerifier>,
    /// What others are called with.
    pub client: Arc<ClientConfig>,
    /// Why others will not take this node's own certificate as it is now: too early, or too late.
    untimely: Option<String>,
}

/// The SHA-256 of files, to tell whether they have changed.
pub type Digest = [u8; 32];

/// Where certificates and their key are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// The key they stand below, as in `peers.tls`.
    pub(super) section: &'static str,
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) ca: Option<String>,
}

impl Tls {
    /// Reads every file again, for `node`.
    pub(super) fn read_again(&self, node: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut again = |endpoint: &Option<Arc<Endpoint>>, names: Option<&str>| {
            let files = endpoint.as_ref()?.files.clone();
            files.read(names, &mut problems).map(Arc::new)
        };
        let next = Self {
            clients: again(&self.clients, None),
            peers: again(&self.peers, Some(node)),
            operators: again(&self.operators, None),
        };
        if problems.is_empty() { next.after(self) } else { Err(problems) }
    }

    /// These, once they take the place of `earlier`: what is the same stays, so that connections
    /// are kept, and what others would not take is refused.
    pub(super) fn after(mut self, earlier: &Self) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        for (next, earlier) in [
            (&mut self.clients, &earlier.clients),
            (&mut self.peers, &earlier.peers),
            (&mut self.operators, &earlier.operators),
        ] {
            if next == earlier {
                next.clone_from(earlier);
            } else {
                problems.extend(next.as_ref().and_then(|next| next.untimely()));
            }
        }
        super::accept(problems).map(|()| self)
    }

    /// Certificates that others do not take at this time.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Problem> {
        self.endpoints().filter_map(|endpoint| endpoint.untimely())
    }

    /// What is in the files now; none where no file is named.
    pub fn digest_of_files(&self) -> Option<Digest> {
        joint(self.endpoints().map(|endpoint| endpoint.files.contents().digest()))
    }

    /// What was in the files when they were read.
    pub fn digest(&self) -> Option<Digest> {
        joint(self.endpoints().map(|endpoint| endpoint.digest))
    }

    fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        [&self.clients, &self.peers, &self.operators].into_iter().flatten()
    }
}

fn joint(digests: impl Iterator<Item = Digest>) -> Option<Digest> {
    let mut digests = digests.peekable();
    digests.peek()?;
    let mut joint = Sha256::new();
    digests.for_each(|digest| joint.update(digest));
    Some(joint.finalize().into())
}

impl Endpoint {
    /// Why others do not take the certificate at this time.
    fn untimely(&self) -> Option<Problem> {
        let fault = self.trust.as_ref()?.untimely.clone()?;
        let remedy = "renew it, or set this host's clock";
        Some(Problem::new(self.files.key_of("certificate"), &self.files.certificate, fault, remedy))
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.files == other.files
    }
}

impl Eq for Endpoint {}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Whether the subjectAltName of `certificate` has the DNS name `id`: letter by letter, no wildcard.
pub fn names(certificate: &CertificateDer<'_>, id: &str) -> bool {
    dns_names(certificate).iter().any(|name| &**name == id)
}

/// The DNS names in the subjectAltName of `certificate`.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<Box<str>> {
    let read = webpki::EndEntityCert::try_from(certificate);
    read.map_or_else(|_| Vec::new(), |read| read.valid_dns_names().map(Box::from).collect())
}

/// Whether a certificate can name the node `id`.
pub(super) fn can_be_named(id: &str) -> bool {
    matches!(ServerName::try_from(id), Ok(ServerName::DnsName(_)))
}

/// The file that something is wrong with, and what.
type FileFault = (&'static str, Fault);

/// The files of an endpoint as they were read, or why they were not.
struct Contents {
    certificate: Result<Vec<u8>, Fault>,
    key: Result<Vec<u8>, Fault>,
    ca: Option<Result<Vec<u8>, Fault>>,
}

impl Contents {
    fn digest(&self) -> Digest {
        let mut all = Sha256::new();
        for file in [Some(&self.certificate), Some(&self.key), self.ca.as_ref()] {
            // One that cannot be read differs from every one that can.
            let bytes = file.and_then(|file| file.as_ref().ok());
            all.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_be_bytes());
            all.update(bytes.map_or(b"".as_slice(), Vec::as_slice));
        }
        all.finalize().into()
    }
}

impl Files {
    fn contents(&self) -> Contents {
        Contents {
            certificate: read_file(&self.certificate),
            key: read_file(&self.key),
            ca: self.ca.as_deref().map(read_file),
        }
    }

    /// What the files make, if they go together and the certificate names the node `names`.
    pub(super) fn read(self, names: Option<&str>, problems: &mut Vec<Problem>) -> Option<Endpoint> {
        let contents = self.contents();
        let digest = contents.digest();
        let made = self.make(contents, names);
        made.map(|(server, trust)| Endpoint { files: self.clone(), digest, server, trust })
            .map_err(|(file, Fault { fault, remedy })| {
                // The path of a key might be the key itself by mistake.
                let value = match file {
                    "certificate" => self.certificate.as_str(),
                    "ca" => self.ca.as_deref().unwrap_or_default(),
                    _ => "",
                };
                problems.push(Problem::new(self.key_of(file), value, fault, remedy));
            })
            .ok()
    }

    fn key_of(&self, file: &str) -> String {
        format!("{}.{file}_file", self.section)
    }

    fn make(
        &self,
        contents: Contents,
        names_node: Option<&str>,
    ) -> Result<(Arc<ServerConfig>, Option<Trust>), FileFault> {
        let chain = contents.certificate.and_then(|pem| certificates(&pem));
        let chain = chain.map_err(|fault| ("certificate", fault))?;
        if let Some(id) = names_node.filter(|id| !names(&chain[0], id)) {
            return Err(("certificate", names_another(&chain[0], id)));
        }
        let key = contents.key.and_then(|pem| private_key(&pem)).map_err(|fault| ("key", fault))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let Some(ca) = contents.ca else {
            let server =
                client_facing(provider, chain, key).map_err(|error| ("key", apart(error)))?;
            return Ok((Arc::new(server), None));
        };
        let roots = ca.and_then(|pem| roots(&pem)).map_err(|fault| ("ca", fault))?;
        let callers = callers(&provider, Arc::clone(&roots)).map_err(|fault| ("ca", fault))?;
        let untimely =
            untimely(callers.as_ref(), &chain).map_err(|fault| ("certificate", fault))?;
        let mutual = mutual(provider, chain, key, &callers, roots);
        let (server, client) = mutual.map_err(|error| ("key", apart(error)))?;
        let trust = Trust { callers, client: Arc::new(client), untimely };
        Ok((Arc::new(server), Some(trust)))
    }
}

/// For clients, who need no certificate.
fn client_facing(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = [HTTP2, HTTP1].map(<[u8]>::to_vec).into();
    Ok(server)
}

/// Where both ends show a certificate.
///
/// No session is resumed: that would take a caller for who it was, without a look at whether its
/// certificate still counts. Connections are kept, so handshakes are rare.
fn mutual(
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    callers: &Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
) -> Result<(ServerConfig, ClientConfig), rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(callers))
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.alpn_protocols = [PEER_PROTOCOL, HTTP2, HTTP1].map(<[u8]>::to_vec).into();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    client.alpn_protocols = vec![PEER_PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    Ok((server, client))
}

fn callers(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    verifier.map_err(|error| Fault::new(format!("cannot be used: {error}"), CA_REMEDY))
}

/// Whether this node's own certificate would be taken by others: that it is not by its time is told
/// apart, since it may be the clock's fault, and has to keep nobody from starting.
fn untimely(
    callers: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
) -> Result<Option<String>, Fault> {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match callers.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()) {
        Ok(_) => Ok(None),
        Err(rustls::Error::InvalidCertificate(
            error @ (Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }),
        )) => Ok(Some(format!("is not valid at this time: {error}"))),
        Err(error) => {
            let remedy = "name one that was issued by the CA of ca_file, for clients and servers";
            Err(Fault::new(format!("would not be taken by others: {error}"), remedy))
        }
    }
}

const CA_REMEDY: &str = "name a PEM file with the certificate of the CA that issues the others";

fn names_another(certificate: &CertificateDer<'_>, id: &str) -> Fault {
    let mut names = dns_names(certificate);
    names.truncate(NAMES_SHOWN_MAX);
    let fault = match names.join(", ") {
        none if none.is_empty() => "names no node".to_owned(),
        names => format!("names {names}, not this node"),
    };
    Fault::new(fault, format!("issue one whose subjectAltName has DNS:{id}"))
}

/// A key that does not go with its certificate, or is of no use.
fn apart(error: rustls::Error) -> Fault {
    let remedy = "name the key that the certificate was made for, without a password";
    Fault::new(format!("does not go with the certificate: {error}"), remedy)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let remedy = "name a PEM file with the certificate, and those between it and the CA after it";
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(Fault::new("holds no certificate", remedy)),
        Err(error) => Err(Fault::new(format!("is no PEM file: {error}"), remedy)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        Fault::new("holds no private key", "name a PEM file with the key, without a password")
    })
}

fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, Fault> {
    let mut roots = RootCertStore::empty();
    let unusable =
        |error: &dyn fmt::Display| Fault::new(format!("cannot be used: {error}"), CA_REMEDY);
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(Fault::new("holds no certificate", CA_REMEDY));
    }
    Ok(Arc::new(roots))
}

fn read_file(path: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| secrets::unreadable(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let fault = format!("has more than {FILE_BYTES_MAX} bytes");
        return Err(Fault::new(fault, "name a PEM file"));
    }
    Ok(bytes)
}
