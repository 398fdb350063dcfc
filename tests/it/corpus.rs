use std::path::PathBuf;

use rl_tests::project;

#[path = "../fuzz/targets.rs"]
mod targets;

/// Runs a target on all inputs that its fuzzer has saved.
fn replay(name: &str, target: impl Fn(&[u8])) {
    let dir: PathBuf = project().join("tests/fuzz/corpus").join(name);
    let mut replayed = 0;
    for entry in
        std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
    {
        target(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        replayed += 1;
    }
    assert!(replayed > 10, "{name}: only {replayed} inputs");
}

#[test]
fn the_rate_grammar_passes_its_corpus() {
    replay("rate", targets::rate);
}

#[test]
fn the_state_decoder_passes_its_corpus() {
    replay("state", targets::state);
}

#[test]
fn the_argument_parser_passes_its_corpus() {
    replay("arguments", targets::arguments);
}

#[test]
fn the_sequences_of_calls_pass_their_corpus() {
    replay("calls", targets::calls);
}

#[test]
fn the_client_address_passes_its_corpus() {
    replay("client_address", targets::client_address);
}

#[test]
fn the_keys_of_policies_pass_their_corpus() {
    replay("bucket_key", targets::bucket_key);
}
