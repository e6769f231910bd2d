//! Addresses of host names. The last good answer outlives the resolver: names rarely change, and a
//! node that runs must not be lost because the machine that knows its name does not.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use tokio::time::timeout;

use crate::config::Timeouts;

/// Names remembered per worker; the least recently used go.
const NAMES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9999);

/// After how long a resolver that failed is asked again for a name that has an answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Part of the time to connect that is spent on asking anew, where an old answer may do.
const ASKING_SHARE: u32 = 2;

/// The names one worker has asked for.
#[derive(Debug)]
pub(super) struct Names {
    known: RefCell<LruCache<Arc<str>, Known>>,
}

/// What is known of a name.
#[derive(Debug, Clone)]
struct Known {
    addresses: Rc<[IpAddr]>,
    since: Instant,
    /// When the resolver was last asked for it.
    asked: Instant,
    /// Nobody could be reached there since, so they may be somewhere else.
    doubted: bool,
}

/// What to do with what is known.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// It holds.
    AsItIs,
    /// It will do, and is asked for again meanwhile.
    Renewing,
    /// The resolver is to be heard first.
    OnlyIfNothingElse,
    /// It is too old to be used.
    Never,
}

impl Known {
    fn usable(&self, timeouts: &Timeouts, now: Instant) -> Use {
        let age = now.saturating_duration_since(self.since);
        let asked_lately = now.saturating_duration_since(self.asked) < RETRY_AFTER;
        if age >= timeouts.name_stale {
            Use::Never
        } else if self.doubted && !asked_lately {
            Use::OnlyIfNothingElse
        } else if age < timeouts.name_fresh || asked_lately {
            Use::AsItIs
        } else {
            Use::Renewing
        }
    }
}

impl Names {
    /// None yet.
    pub(super) fn new() -> Rc<Self> {
        // It grows with its names: most fleets have few.
        Rc::new(Self { known: RefCell::new(LruCache::unbounded()) })
    }

    /// The addresses of `host`, which has at least one if this succeeds.
    pub(super) async fn addresses(
        self: &Rc<Self>,
        host: &Arc<str>,
        timeouts: &Timeouts,
    ) -> io::Result<Rc<[IpAddr]>> {
        let now = Instant::now();
        let known = self.known.borrow_mut().get(host).cloned();
        let usable = known.as_ref().map_or(Use::Never, |known| known.usable(timeouts, now));
        let Some(known) = known.filter(|_| usable != Use::Never) else {
            return self.ask(host).await;
        };
        if usable == Use::AsItIs {
            return Ok(known.addresses);
        }
        if let Some(known) = self.known.borrow_mut().peek_mut(host) {
            known.asked = now;
        }
        if usable == Use::Renewing {
            let (names, host) = (Rc::clone(self), Arc::clone(host));
            tokio::task::spawn_local(async move { names.ask(&host).await });
            return Ok(known.addresses);
        }
        let asked = timeout(timeouts.connect / ASKING_SHARE, self.ask(host)).await;
        Ok(asked.ok().and_then(Result::ok).unwrap_or(known.addresses))
    }

    /// Notes whether anybody was reached at an address of `host`.
    pub(super) fn note_reached(&self, host: &Arc<str>, reached: bool) {
        if let Some(known) = self.known.borrow_mut().peek_mut(host) {
            known.doubted = !reached;
        }
    }

    /// Asks the resolver, and remembers what it says.
    async fn ask(&self, host: &Arc<str>) -> io::Result<Rc<[IpAddr]>> {
        let answer = tokio::net::lookup_host((&**host, 0)).await;
        let answer = answer.map(|found| found.map(|address| address.ip()).collect::<Rc<[_]>>());
        let answer = answer.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address")),
            false => Ok(addresses),
        });
        match &answer {
            Ok(addresses) => self.learn(host, Rc::clone(addresses), Instant::now()),
            Err(error) => tracing::debug!(%host, %error, "cannot resolve"),
        }
        answer
    }

    fn learn(&self, host: &Arc<str>, addresses: Rc<[IpAddr]>, now: Instant) {
        let mut names = self.known.borrow_mut();
        let known = Known { addresses, since: now, asked: now, doubted: false };
        names.put(Arc::clone(host), known);
        if names.len() > NAMES_MAX.get() {
            names.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FRESH: Duration = Duration::from_secs(30);
    const STALE: Duration = Duration::from_secs(100);

    fn timeouts() -> Timeouts {
        Timeouts { name_fresh: FRESH, name_stale: STALE, ..Timeouts::DEFAULT }
    }

    fn address(last: u8) -> Rc<[IpAddr]> {
        Rc::new([Ipv4Addr::new(127, 0, 0, last).into()])
    }

    #[test]
    fn an_answer_is_renewed_when_it_is_old_and_doubted_when_nobody_is_there() {
        let start = Instant::now();
        let known = Known { addresses: address(1), since: start, asked: start, doubted: false };
        let doubted = Known { doubted: true, ..known.clone() };
        let renewed = Known { asked: start + FRESH, ..known.clone() };
        let moment = Duration::from_millis(1);
        for (known, after, expected) in [
            (&known, Duration::ZERO, Use::AsItIs),
            (&known, FRESH - moment, Use::AsItIs),
            (&known, FRESH, Use::Renewing),
            (&renewed, FRESH + moment, Use::AsItIs),
            (&renewed, FRESH + RETRY_AFTER, Use::Renewing),
            (&known, STALE - moment, Use::Renewing),
            (&known, STALE, Use::Never),
            (&doubted, moment, Use::AsItIs),
            (&doubted, RETRY_AFTER, Use::OnlyIfNothingElse),
            (&doubted, STALE, Use::Never),
        ] {
            assert_eq!(known.usable(&timeouts(), start + after), expected, "after {after:?}");
        }
    }

    #[test]
    fn the_least_recently_used_names_go() {
        let names = Names::new();
        let now = Instant::now();
        for number in 0..=NAMES_MAX.get() {
            names.learn(&number.to_string().into(), address(1), now);
        }
        let known = names.known.borrow();
        assert_eq!(known.len(), NAMES_MAX.get());
        assert!(!known.contains("0") && known.contains("1"));
    }

    #[test]
    fn whoever_is_reached_is_doubted_no_more() {
        let (names, host) = (Names::new(), Arc::from("node"));
        names.learn(&host, address(1), Instant::now());
        for reached in [false, true] {
            names.note_reached(&host, reached);
            assert_eq!(names.known.borrow().peek(&host).unwrap().doubted, !reached);
        }
    }
}
