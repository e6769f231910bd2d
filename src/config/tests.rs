//! The configuration as a whole; its parts have tests beside them.

mod bad;
mod certificates;
mod changes;
mod dump;
mod files;
mod good;

use super::*;

/// Three nodes; what a test adds begins in line 6.
const BASE: &str = "\
node: {id: edge1}
topology:
  - {id: cloud, role: cloud-controller, zone: cloud, address: 10.0.1.100}
  - {id: edge1, role: edge-controller, zone: A, address: 10.0.2.100}
  - {id: edge2, role: worker, zone: A, address: 10.0.2.101}
";

/// What `text` becomes where the environment holds no token.
fn load(text: &str) -> Result<Snapshot, Vec<Problem>> {
    build::snapshot(text, None, None, None)
}

/// What [`BASE`] with `more` becomes.
fn based(more: &str) -> Result<Snapshot, Vec<Problem>> {
    load(&format!("{BASE}{more}"))
}

/// A file with `content` that lasts as long as the value.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("hopwise-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
