//! Any bytes, as they are and as the body of a valid frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conformance::fuzz::decode(bytes));
