//! Whether the files that configuration comes from are good.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Change;

/// Which files were refused when they were read last.
#[derive(Debug, Default)]
pub(super) struct Refused {
    configuration: AtomicBool,
    certificates: AtomicBool,
}

impl Refused {
    /// Notes what came of `change`; whether all files are good, where it read any.
    pub(super) fn note(&self, change: &Change, refused: bool) -> Option<bool> {
        match change {
            Change::Text(_) => {
                self.configuration.store(refused, Ordering::Relaxed);
                if !refused {
                    // They are read with it.
                    self.certificates.store(false, Ordering::Relaxed);
                }
            }
            Change::Certificates => self.certificates.store(refused, Ordering::Relaxed),
            Change::Mode(_) | Change::Thresholds(_) | Change::Drain(..) => return None,
        }
        let both = [&self.configuration, &self.certificates];
        Some(!both.into_iter().any(|refused| refused.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::policy::Mode;

    #[test]
    fn only_what_reads_a_file_tells_whether_it_is_good() {
        let (text, mode) = (Change::Text(String::new()), Change::Mode(Mode::Dynamic));
        let refused = Refused::default();
        assert_eq!(refused.note(&mode, true), None);
        assert_eq!(refused.note(&text, true), Some(false));
        assert_eq!(refused.note(&mode, false), None);
        assert_eq!(refused.note(&Change::Certificates, false), Some(false));
        assert_eq!(refused.note(&text, false), Some(true));
        assert_eq!(refused.note(&Change::Certificates, true), Some(false));
        assert_eq!(refused.note(&text, false), Some(true), "they are read with it");
    }
}
