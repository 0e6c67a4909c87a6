#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rialto::mqtt::play::run(data));
