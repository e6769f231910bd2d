//! Counts every answer, whoever gives it, and makes it the last one of its connection while draining.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, Version};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::client_io::{Connection, InProgress};
use super::drain::make_last;
use super::response_body::ResponseBody;

/// The layer that counts.
#[derive(Debug, Clone)]
pub struct Measure {
    pub(super) connection: Arc<Connection>,
    /// Whether how long requests take says something: not on the admin port.
    pub(super) timed: bool,
}

/// The service [`Measure`] makes.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    connection: Arc<Connection>,
    timed: bool,
    inner: S,
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { connection: Arc::clone(&self.connection), timed: self.timed, inner }
    }
}

impl<S, B> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Counting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // It begins before it can be refused, so that whoever refuses it need not count it.
        let (begun, version) =
            (Some(InProgress::begin(&self.connection, self.timed)), request.version());
        Counting { future: self.inner.call(request), request: begun, version }
    }
}

pin_project! {
    /// An answer that will be counted, or a caller who went away before it.
    #[derive(Debug)]
    pub struct Counting<F> {
        #[pin]
        future: F,
        request: Option<InProgress>,
        version: Version,
    }

    impl<F> PinnedDrop for Counting<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(request) = this.project().request.take() {
                request.state().metrics.client_aborts.inc();
            }
        }
    }
}

impl<F> Future for Counting<F>
where
    F: Future<Output = Result<Response<ResponseBody>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.future.poll(cx));
        if let (Some(mut request), Ok(response)) = (this.request.take(), &mut answer) {
            request.status = response.status().as_u16();
            let state = request.state();
            state.metrics.count_answer(request.status);
            if state.is_draining() {
                make_last(response, *this.version);
            }
            response.body_mut().hold(request);
        }
        Poll::Ready(answer)
    }
}
