//! A small HTTP client for the calls that subcommands make.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::secure::{Files, Secure, fault};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const TOKEN_VARIABLE: &str = "HOPWISE_ADMIN_TOKEN";

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// Nobody answers there.
    #[error(
        "nobody answers at {address}: {fault}; start hopwise there, or say where it is by {option}"
    )]
    Unreachable { address: String, fault: String, option: &'static str },
    /// Somebody answers there, but not as it has to.
    #[error("{address}: {fault}")]
    Insecure { address: String, fault: String },
    /// It ended the connection, as one does who does not know the caller.
    #[error(
        "{address} turned the connection down: {fault}; it may ask for a certificate, which \
         --certificate-file and --key-file show"
    )]
    TurnedDown { address: String, fault: String },
    /// It does not let this caller.
    #[error(
        "{address} does not allow that: {message}; show the admin token by --token-file or \
         {TOKEN_VARIABLE}"
    )]
    Forbidden { address: String, message: String },
    /// What was written can be no call.
    #[error("{0}")]
    Usage(String),
    /// It answered, and said no.
    #[error("{address} answered {status}: {message}")]
    Refused { address: String, status: StatusCode, message: String },
}

/// Why an exchange came to nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody answers.
    Nobody(String),
    /// No TLS with whoever does.
    Insecure(String),
    /// It does not want this caller.
    TurnedDown(String),
}

impl Failed {
    fn of(fault: Fault, client: &Client) -> Self {
        let (address, option) = (client.address.clone(), client.option);
        match fault {
            Fault::Nobody(fault) => Self::Unreachable { address, fault, option },
            Fault::Insecure(fault) => Self::Insecure { address, fault },
            Fault::TurnedDown(fault) => Self::TurnedDown { address, fault },
        }
    }

    /// What the process ends with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::Insecure { .. } => 3,
            Self::Forbidden { .. } | Self::TurnedDown { .. } => 4,
        }
    }
}

/// The sidecar that is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Admin {
    /// The admin port of the sidecar; https://HOST:PORT where it speaks TLS.
    #[arg(
        long = "admin",
        value_name = "HOST:PORT",
        env = "HOPWISE_ADMIN",
        default_value = "127.0.0.1:31114"
    )]
    pub(super) address: String,
    /// A file with the admin token, for a sidecar on another host; without it HOPWISE_ADMIN_TOKEN counts.
    #[arg(long, value_name = "FILE", env = "HOPWISE_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    within: u64,
    #[command(flatten)]
    tls: Files,
}

/// A server, and what is shown to it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// `host:port`.
    pub(super) address: String,
    /// How to name another, for those who find nobody there.
    pub(super) option: &'static str,
    pub(super) secure: Option<Secure>,
    pub(super) fields: HeaderMap,
    pub(super) within: Duration,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
}

impl Admin {
    /// The client for it.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let mut fields = HeaderMap::new();
        if let Some(token) = token(self.token_file.as_ref())? {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .context("the admin token has characters that no token has")?;
            value.set_sensitive(true);
            fields.insert(AUTHORIZATION, value);
        }
        let (address, secure) = self.tls.at(&self.address, "--admin or HOPWISE_ADMIN")?;
        Ok(Client {
            address,
            secure,
            option: "--admin or HOPWISE_ADMIN",
            fields,
            within: Duration::from_secs(self.within),
        })
    }
}

/// The admin token, if there is one: from `file`, or from the environment.
pub(super) fn token(file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("--token-file: cannot read {}", file.display()))
            .map(Some),
        None => Ok(std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())),
    }
}

impl Client {
    /// The document that a call answers, which must succeed.
    pub(super) async fn json(
        &self,
        method: Method,
        target: &str,
        body: &str,
    ) -> anyhow::Result<Value> {
        let answer = self.call(method, target, Bytes::copy_from_slice(body.as_bytes())).await?;
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() {
            return Ok(document);
        }
        Err(self.refused(answer.status, &document).into())
    }

    /// The error of an answer that is none of success.
    pub(super) fn refused(&self, status: StatusCode, document: &Value) -> Failed {
        let message = document["message"].as_str().unwrap_or("no hopwise answers like that");
        let (address, message) = (self.address.clone(), super::output::plain(message));
        match status {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                Failed::Forbidden { address, message }
            }
            _ => Failed::Refused { address, status, message },
        }
    }

    /// What a call answers, whatever it is.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().with_context(|| format!("{target} is no path"))?;
        *request.headers_mut() = self.fields.clone();
        if !self.fields.contains_key(HOST) {
            let host = HeaderValue::try_from(&self.address);
            let host = host.with_context(|| format!("{}: is no HOST:PORT", self.address))?;
            request.headers_mut().insert(HOST, host);
        }
        let late = |_| Fault::Nobody(format!("no answer within {:?}", self.within));
        let answer = timeout(self.within, self.exchange(request)).await.map_err(late);
        answer.flatten().map_err(|fault| Failed::of(fault, self).into())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let connected = TcpStream::connect(&self.address).await;
        let stream = connected.map_err(|error| Fault::Nobody(error.to_string()))?;
        match &self.secure {
            Some(secure) => converse(secure.connect(stream).await?, request, "").await,
            None => converse(stream, request, "; if it speaks TLS, write https://").await,
        }
    }
}

/// One exchange over `stream`; `remedy` is for who gets no answer.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    remedy: &str,
) -> Result<Answer, Fault> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| Fault::Nobody(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let nobody = |error: hyper::Error| Fault::Nobody(format!("{error}{remedy}"));
    let response = response.map_err(|error| fault(&error).unwrap_or_else(|| nobody(error)));
    let (head, body) = response?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body =
        body.map_err(|error| Fault::Nobody(format!("its answer broke off: {error}")))?.to_bytes();
    connection.abort();
    Ok(Answer { status: head.status, fields: head.headers, body })
}

/// Runs `future` on this thread.
pub(super) fn wait_for<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
