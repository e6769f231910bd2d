//! What a service manager such as systemd is told, where one listens (NOTIFY_SOCKET).

use std::time::Duration;

use sd_notify::NotifyState;

/// This process serves, by the configuration it was last given.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// This process reads its configuration again; [`ready`] follows.
pub(super) fn reloading() {
    // Without the time the manager would take a reload for failed, so nothing is said then.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot tell the service manager of the reload"),
    }
}

/// How long it waits for [`turning`] before it takes this process for hung, if it does.
pub(super) fn watch() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|watch| !watch.is_zero())
}

/// This process does its work.
pub(super) fn turning() {
    tell(&[NotifyState::Watchdog]);
}

/// This process is on its way out, and nobody takes its place.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// `process` takes the place of this one.
pub(super) fn succeeded_by(process: i32) {
    tell(&[NotifyState::MainPid(process.unsigned_abs())]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager how this process is");
    }
}
