//! Real datagrams, damaged or forged, in any order, into nodes among others.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| conformance::fuzz::datagrams(script));
