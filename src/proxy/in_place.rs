//! hyper's service over our tower stack.

use std::cell::RefCell;

use tower::Service;

/// A stack that hyper calls as it stands, instead of a copy of it for each request.
///
/// Copies are for stacks that have to wait until they are ready. None of our layers does: what
/// waits here waits in the future of its request.
#[derive(Debug)]
pub(super) struct InPlace<S>(RefCell<S>);

impl<S> InPlace<S> {
    pub(super) fn new(stack: S) -> Self {
        Self(RefCell::new(stack))
    }
}

impl<R, S: Service<R>> hyper::service::Service<R> for InPlace<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: R) -> S::Future {
        self.0.borrow_mut().call(request)
    }
}
