#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mimbench_fuzz::mask(bytes));
