//! Heartbeats at any times: phi is finite and never falls in silence.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conformance::fuzz::phi(bytes));
