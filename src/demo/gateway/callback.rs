//! Where the result of an asynchronous invocation goes.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::uri::Uri;

use crate::demo::client::connect;

/// How long a callback may take, from connecting to the end of its answer.
const CALLBACK_WAIT: Duration = Duration::from_secs(10);
/// Most bytes of a callback's answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const PORT_DEFAULT: u16 = 80;

/// A URL that results are posted to.
#[derive(Debug, Clone)]
pub(super) struct Callback {
    address: String,
    host: HeaderValue,
    path: Uri,
}

impl Callback {
    /// The callback that `url` asks for.
    pub(super) fn new(url: &HeaderValue) -> Result<Self, &'static str> {
        const REMEDY: &str =
            "X-Callback-Url is no address to post to: give one like http://127.0.0.1:8080/result";
        let url = Uri::try_from(url.as_bytes()).map_err(|_| REMEDY)?;
        let authority = url.authority().ok_or(REMEDY)?;
        if url.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(REMEDY);
        }
        let port = authority.port_u16().unwrap_or(PORT_DEFAULT);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            address: format!("{}:{port}", authority.host()),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| REMEDY)?,
            path: Uri::try_from(path).map_err(|_| REMEDY)?,
        })
    }

    /// Posts `body`, once. Nobody waits for the outcome, so a failure is only logged.
    pub(super) async fn post(self, headers: HeaderMap, body: Bytes) {
        let address = self.address.clone();
        match tokio::time::timeout(CALLBACK_WAIT, self.try_post(headers, body)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%address, %error, "callback failed"),
            Err(_) => tracing::warn!(%address, "callback took too long"),
        }
    }

    async fn try_post(
        self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut sender = connect(self.address).await?;
        let mut request = Request::post(self.path).body(Full::new(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host);
        let response = sender.send_request(request).await?;
        // Read to its end, so that the receiver's write does not fail.
        Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, address, path) in [
            ("http://127.0.0.1:8080/a?b=c", "127.0.0.1:8080", "/a?b=c"),
            ("http://localhost", "localhost:80", "/"),
            ("http://[::1]:9/x", "[::1]:9", "/x"),
        ] {
            let callback = Callback::new(&HeaderValue::from_static(url)).unwrap();
            assert_eq!(
                (callback.address.as_str(), callback.path.to_string().as_str()),
                (address, path)
            );
        }
        for url in ["", "/path", "https://a/", "ftp://a/", "http://", "a:80", "http://u@a/"] {
            assert!(Callback::new(&HeaderValue::from_static(url)).is_err(), "{url}");
        }
    }
}
