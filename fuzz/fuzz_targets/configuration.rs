#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| hopwise::fuzzing::configuration(text));
