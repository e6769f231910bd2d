//! Counts every answer, whoever gives it, and makes it the last one of its connection while draining.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Request, Response, Version};
use hyper::body::Body;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::client::{Client, Port};
use super::client_io::InProgress;
use super::drain::make_last;
use super::response_body::ResponseBody;
use super::trail::{Followed, Trail};

/// The layer that counts.
#[derive(Debug, Clone)]
pub struct Measure {
    pub(super) client: Client,
}

/// The service [`Measure`] makes.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    client: Client,
    inner: S,
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { client: self.client.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for Measured<S>
where
    B: Body,
    S: Service<Followed<B>, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Counting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // How long requests of operators take, and what they ask, says nothing.
        let timed = self.client.port == Port::Data;
        let connection = &self.client.connection;
        let follows = timed && connection.state().follows_requests();
        let now = Instant::now();
        let trail =
            if follows { Trail::begin(&self.client, &mut request, now) } else { Trail::default() };
        // It begins before it can be refused, so that whoever refuses it need not count it.
        let begun = InProgress::begin(connection, timed.then_some(now), trail.clone());
        let version = request.version();
        let future = self.inner.call(Followed { request, came: now, trail });
        Counting { future, request: Some(begun), version }
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
            request.trail.answered(response);
            response.body_mut().hold(request);
        }
        Poll::Ready(answer)
    }
}
