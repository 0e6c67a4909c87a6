//! Plays: those that were found and kept, and random ones.
//!
//! With `RIALTO_LONG` set in the environment, many more; with the name of a file in `RIALTO_PLAY` that play alone, told
//! step by step (`-- --nocapture`).

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::test_runner::RngSeed;

use super::run;

#[test]
fn plays_that_were_kept_go_well() {
    if let Some(file) = std::env::var_os("RIALTO_PLAY") {
        return run(&fs::read(file).unwrap());
    }
    let mut count = 0;
    for folder in ["seeds", "findings"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
        let Ok(entries) = fs::read_dir(folder.join("mqtt_connection")) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "no plays are kept");
}

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("RIALTO_LONG").is_some() { 4_000 } else { 300 };
    // The same plays each time: the fuzzer is who looks for others.
    let rng_seed = RngSeed::Fixed(7);
    ProptestConfig { cases, rng_seed, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_clients_do_the_others_get_what_they_were_promised(play in vec(any::<u8>(), 0..700)) {
        run(&play);
    }
}
