//! Runs hyper's tasks on the worker's own thread, and has them watched.
#![allow(missing_docs, reason = "pin_project! takes no comments on fields")]

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use pin_project_lite::pin_project;

use super::Context;
use super::watch::Watched;

/// Runs the streams of HTTP/2 connections, each as a task of its own.
#[derive(Debug, Clone)]
pub(super) struct Streams(pub(super) Rc<Context>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        let watched = Watched::stream();
        let context = Rc::clone(&self.0);
        let stream = Stream { future, watched: Arc::clone(&watched), context };
        let task = tokio::task::spawn_local(stream);
        self.0.watch.add(watched, task.abort_handle());
    }
}

pin_project! {
    /// A stream that can be told from others while it runs.
    struct Stream<F> {
        #[pin]
        future: F,
        watched: Arc<Watched>,
        context: Rc<Context>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.context.stream.replace(Some(Arc::clone(this.watched)));
        let polled = this.future.poll(cx);
        this.context.stream.take();
        polled
    }
}
