//! Commands, faults, restarts and clocks over a few nodes, which must come to rest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conformance::fuzz::script(bytes));
