//! Our own paths, on the data port and on the admin port.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Response, StatusCode};
use tower::Service;

use crate::proxy::Context;
use crate::proxy::admit::Admitted;
use crate::proxy::answer::Refused;
use crate::proxy::body::ResponseBody;

/// Answers our own paths for one worker.
#[derive(Debug, Clone)]
pub struct Api {
    context: Rc<Context>,
}

impl Api {
    /// The API of the worker of `context`.
    pub fn new(context: Rc<Context>) -> Self {
        Self { context }
    }
}

impl Service<Admitted> for Api {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let context = Rc::clone(&self.context);
        Box::pin(async move {
            Ok(match answer(&context, admitted).await {
                Ok(response) => response,
                Err(refused) => refused.into_response(),
            })
        })
    }
}

async fn answer(
    context: &Rc<Context>,
    admitted: Admitted,
) -> Result<Response<ResponseBody>, Refused> {
    let _ = (context, admitted);
    Err(Refused::new(StatusCode::NOT_FOUND, "not_found", "no such path"))
}
