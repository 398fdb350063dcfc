//! The unit for systemd and the Dockerfile: neither can run here, but what they name must be there.

use std::fs;
use std::process::Command;

use rl_tests::{artifacts, project};

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).expect(path)
}

/// Where both install the program.
const PROGRAM: &str = "/usr/local/bin/rl-server";

#[test]
fn systemd_understands_the_unit() {
    let unit = read("server/rl-server.service");
    assert!(unit.contains(&format!("\nExecStart={PROGRAM}\n")));
    let program = artifacts().server.display().to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path().join("rl-server.service");
    fs::write(&here, unit.replace(PROGRAM, &program)).expect("written");
    let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(here)
        .output()
    else {
        println!("skipped: systemd-analyze is not here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn their_variables_are_flags() {
    let help = Command::new(&artifacts().server)
        .arg("-h")
        .output()
        .expect("built");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let text = read("server/rl-server.service") + &read("server/Dockerfile");
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let mut variables = words.filter(|word| word.starts_with("RL_")).peekable();
    assert!(variables.peek().is_some());
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}")), "{variable}");
    }
}

#[test]
fn the_image_is_built_from_what_is_there_with_the_toolchain_of_the_workspace() {
    let dockerfile = read("server/Dockerfile");
    let lines: Vec<&str> = dockerfile.lines().collect();
    let manifest = read("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("a version");
    let image = format!(
        "FROM rust:{}-slim-bookworm AS build",
        version.trim_matches('"')
    );
    assert!(lines.contains(&image.as_str()), "{image}");
    let program = "/redis-rl/target/release/rl-server";
    for line in [
        "WORKDIR /redis-rl",
        "COPY . .",
        "RUN cargo build --release --locked --package rl-server",
        &format!("COPY --from=build {program} /usr/local/bin/"),
        &format!("ENTRYPOINT [\"{PROGRAM}\"]"),
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    assert!(read("server/Cargo.toml").contains("name = \"rl-server\""));
}

/// What the image is built from is what git has.
#[test]
fn only_what_git_ignores_is_left_out_of_the_build() {
    let ignored = read(".gitignore");
    let left_out = read("server/Dockerfile.dockerignore");
    for line in left_out.lines().filter(|line| *line != ".git") {
        let is_ignored = |known: &str| known.trim_matches('/') == line;
        assert!(ignored.lines().any(is_ignored), "{line}");
    }
}
