//! Why there is no answer, and what that allows.

use std::io;
use std::rc::Rc;

use crate::scheduling::retry::Again;
use crate::scheduling::route::Outcome;

use super::io::Unanswered;
use super::request_body::Replay;
use super::saved::Saved;
use super::upstream::Outbound;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing ran. What can be sent elsewhere comes back.
    NothingRan(io::Error, Option<Box<Outbound>>),
    /// Nothing ran, since too much runs and waits there already.
    Full(Option<Box<Outbound>>),
    /// Nothing ran: the platform there does not have the function, or nobody to run it now.
    Turned(Outcome, Option<Box<Outbound>>),
    /// It may have run, and the connection broke. What does no harm when it runs twice comes back.
    Broken(hyper::Error, Option<Box<Outbound>>),
    /// The same, on a connection that was kept from before: most likely its time was over.
    Stale(hyper::Error, Box<Outbound>),
    /// It may have run, and the platform there answers in place of the function.
    Unanswered(Option<Box<Outbound>>),
    /// The client broke off its body.
    ClientAborted,
    /// The client sent nothing more of its body.
    ClientStalled,
    /// No answer in time.
    TimedOut,
}

/// Why there is no answer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody could be reached,
    Connect,
    /// or not in time.
    ConnectTimeout,
    /// The connection broke.
    Broken,
    /// What came is no answer.
    Malformed,
    /// Too much is under way there.
    Overflow,
    /// Nobody is there to run it.
    Absent,
    /// No answer in time.
    TimedOut,
    /// It is the client's.
    Client,
}

impl Fault {
    /// The name for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connection_failure",
            Self::ConnectTimeout => "connection_timeout",
            Self::Broken => "connection_termination",
            Self::Malformed => "protocol_error",
            Self::Overflow => "overflow",
            Self::Absent => "no_healthy_upstream",
            Self::TimedOut => "timeout",
            Self::Client => "downstream_remote_disconnect",
        }
    }
}

impl Failure {
    /// The word for it.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::NothingRan(error, _) => match error.get_ref() {
                _ if error.kind() == io::ErrorKind::TimedOut => Fault::ConnectTimeout,
                // A connection there was; it broke over a request that was never read.
                Some(inner) if inner.is::<hyper::Error>() => Fault::Broken,
                _ => Fault::Connect,
            },
            Self::Full(_) => Fault::Overflow,
            Self::Turned(..) => Fault::Absent,
            Self::Broken(error, _) if error.is_parse() => Fault::Malformed,
            Self::Broken(..) | Self::Stale(..) | Self::Unanswered(_) => Fault::Broken,
            Self::ClientAborted | Self::ClientStalled => Fault::Client,
            Self::TimedOut => Fault::TimedOut,
        }
    }

    /// The request once more, if it can be sent again, and what may have come of it before.
    pub(super) fn into_again(self) -> Result<(Box<Outbound>, Again), Self> {
        match self {
            Self::NothingRan(_, Some(again)) | Self::Turned(_, Some(again)) => {
                Ok((again, Again::NothingRan))
            }
            Self::Full(Some(again)) => Ok((again, Again::No)),
            Self::Broken(_, Some(again)) | Self::Stale(_, again) => Ok((again, Again::MayHaveRun)),
            Self::Unanswered(Some(again)) => Ok((again, Again::MayHaveRun)),
            failure => Err(failure),
        }
    }

    /// Whether it is certain that nothing ran.
    pub(super) fn ran_nothing(&self) -> bool {
        matches!(self, Self::NothingRan(..) | Self::Full(_) | Self::Turned(..))
    }

    /// Whether the node itself has failed, so that it should be given a moment.
    pub(super) fn is_fault(&self) -> bool {
        !matches!(self, Self::Full(_) | Self::Stale(..) | Self::Turned(..))
    }

    /// How the step ended.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::NothingRan(..) => Outcome::Unreachable,
            Self::Broken(error, _) if io_kind(error) == Some(io::ErrorKind::TimedOut) => {
                Outcome::Unreachable
            }
            Self::Broken(..) | Self::TimedOut => Outcome::Lost,
            Self::Unanswered(_) => Outcome::Failed,
            Self::Turned(outcome, _) => *outcome,
            // Being busy is no fault, and is told in numbers.
            Self::ClientAborted | Self::ClientStalled | Self::Full(_) | Self::Stale(..) => {
                Outcome::Cancelled
            }
        }
    }
}

/// What to make of a connection that broke before an answer.
pub(super) fn classify(
    error: hyper::Error,
    saved: &Saved,
    sent: &Option<Rc<Replay>>,
    unanswered: &Unanswered,
) -> Failure {
    if sent.as_ref().is_some_and(|sent| sent.client_failed()) {
        return Failure::ClientAborted;
    }
    // A reset means that something sent was never read, which is all of what went out in one piece.
    let reset = io_kind(&error).is_some_and(|kind| {
        matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    });
    if reset && unanswered.is_one_piece() {
        return Failure::NothingRan(io::Error::other(error), saved.again(sent));
    }
    // An answer that makes no sense is an answer: asking again would bring another.
    let again = (saved.idempotent && !error.is_parse()).then(|| saved.again(sent)).flatten();
    Failure::Broken(error, again)
}

pub(super) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = cause.source();
    }
    None
}
