#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callvault_fuzz::check("audio", input));
