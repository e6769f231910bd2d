#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| hopwise::fuzzing::entry(body));
