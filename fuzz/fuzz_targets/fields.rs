#![no_main]

use std::sync::LazyLock;

use hopwise::config::{Secret, Snapshot};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let yaml = "node: {id: edge1}\ntopology:\n  \
        - {id: edge1, role: worker, zone: a, address: 192.0.2.1}\n  \
        - {id: edge2, role: edge-controller, zone: a, address: 192.0.2.2}\n";
    Snapshot::from_yaml(yaml, None).expect("the snapshot of this target is valid")
});

static KEY: LazyLock<Secret> = LazyLock::new(|| Secret::new(b"a key nobody guesses"));

libfuzzer_sys::fuzz_target!(|text: &[u8]| hopwise::fuzzing::fields(text, &SNAPSHOT, &KEY));
