//! How many files this process may open: each connection is one, and a limit of 1 024 is soon reached.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to as much as may be asked for without privileges, and says if even that is less
/// than the `connections` that are configured need.
pub(super) fn raise_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            current
        }
    };
    // One to the client, one upstream; nothing is told of what is without limit.
    let needed = 2 * connections as u64;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "limits.connections is more than open files allow; raise the hard limit (ulimit -Hn, \
             LimitNOFILE=) or lower limits.connections"
        );
    }
}
