//! Counts every answer, whoever gives it, and makes it the last one of its connection while draining.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, Version};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::state::State;

use super::drain::make_last;
use super::response_body::ResponseBody;

/// The layer that counts.
#[derive(Debug, Clone)]
pub struct Measure {
    pub(super) state: Arc<State>,
}

/// The service [`Measure`] makes.
#[derive(Debug, Clone)]
pub struct Measured<S> {
    state: Arc<State>,
    inner: S,
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { state: Arc::clone(&self.state), inner }
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
        let (state, version) = (Some(Arc::clone(&self.state)), request.version());
        Counting { future: self.inner.call(request), state, version }
    }
}

pin_project! {
    /// An answer that will be counted, or a caller who went away before it.
    #[derive(Debug)]
    pub struct Counting<F> {
        #[pin]
        future: F,
        state: Option<Arc<State>>,
        version: Version,
    }

    impl<F> PinnedDrop for Counting<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(state) = this.project().state.take() {
                state.metrics.client_aborts.inc();
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
        if let (Some(state), Ok(response)) = (this.state.take(), &mut answer) {
            state.metrics.count_answer(response.status().as_u16());
            if state.is_draining() {
                make_last(response, *this.version);
            }
        }
        Poll::Ready(answer)
    }
}
