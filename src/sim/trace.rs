//! One number that stands for a whole run.

/// FNV-1a over words: no more is asked of it than that a run which differs anywhere shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            for byte in word.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }

    pub(super) fn hash(self) -> u64 {
        self.0
    }
}
