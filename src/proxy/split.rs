//! Sends our own paths to the API and everything else on.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::Response;
use tower::{Layer, Service};

use super::admit::{Admitted, Route};
use super::future::Either;
use super::response_body::ResponseBody;

/// The layer in front of everything that is not ours.
#[derive(Debug, Clone)]
pub(super) struct OwnPaths<A> {
    pub(super) api: A,
}

/// The service [`OwnPaths`] makes.
#[derive(Debug, Clone)]
pub(super) struct Split<A, S> {
    api: A,
    inner: S,
}

impl<A: Clone, S> Layer<S> for OwnPaths<A> {
    type Service = Split<A, S>;

    fn layer(&self, inner: S) -> Split<A, S> {
        Split { api: self.api.clone(), inner }
    }
}

impl<A, S> Service<Admitted> for Split<A, S>
where
    A: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible>,
    S: Service<Admitted, Response = Response<ResponseBody>, Error = Infallible>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Either<A::Future, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        match admitted.route {
            Route::Own => Either::One { future: self.api.call(admitted) },
            Route::Function(_) | Route::Gateway => {
                Either::Other { future: self.inner.call(admitted) }
            }
        }
    }
}
