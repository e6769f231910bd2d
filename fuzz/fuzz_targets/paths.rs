#![no_main]

libfuzzer_sys::fuzz_target!(|path: &str| hopwise::fuzzing::path(path));
