//! An origin's datagrams, in any order, at replicas that must agree in the end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conformance::fuzz::merge(bytes));
