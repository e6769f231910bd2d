//! The one future our layers need besides those they wrap.
#![allow(missing_docs, reason = "pin_project! takes no comments on fields")]

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// An answer of one service or of another; neither is boxed.
    #[project = EitherProjection]
    #[derive(Debug)]
    pub enum Either<A, B> {
        One { #[pin] future: A },
        Other { #[pin] future: B },
    }
}

impl<A, B> Future for Either<A, B>
where
    A: Future,
    B: Future<Output = A::Output>,
{
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        match self.project() {
            EitherProjection::One { future } => future.poll(cx),
            EitherProjection::Other { future } => future.poll(cx),
        }
    }
}
