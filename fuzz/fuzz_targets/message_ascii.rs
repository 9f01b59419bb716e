#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::message_ascii(data));
