//! The systemd unit and the Dockerfile: neither runs here, but the files and flags that they name must exist.

use std::fs;
use std::process::Command;

use rl_tests::{artifacts, project};

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).expect(path)
}

/// The path of the installed program in both.
const PROGRAM: &str = "/usr/local/bin/rl-server";

/// The unit, with the path of the built program.
fn unit() -> String {
    let unit = read("server/rl-server.service");
    assert!(unit.contains(&format!("\nExecStart={PROGRAM}\n")));
    unit.replace(PROGRAM, &artifacts().server.display().to_string())
}

/// Runs systemd-analyze on this unit, and asserts that it succeeds. Returns what it prints, or `None` if it is not
/// installed.
fn analyze(words: &[&str], unit: &str) -> Option<(String, String)> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("rl-server.service");
    fs::write(&path, unit).expect("written");
    let Ok(output) = Command::new("systemd-analyze")
        .args(words)
        .arg(path)
        .output()
    else {
        println!("skipped: systemd-analyze is not installed");
        return None;
    };
    let [printed, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{printed}{errors}");
    Some((printed, errors))
}

#[test]
fn systemd_accepts_the_unit() {
    let unit = unit();
    let with = |lines: &[&str]| {
        lines.iter().fold(unit.clone(), |unit, line| {
            let comment = format!("\n#{line}");
            assert!(unit.contains(&comment), "{comment}");
            unit.replace(&comment, &format!("\n{line}"))
        })
    };
    // With the password file and the unix socket that its comments show, too.
    let with_password = with(&["LoadCredential=", "Environment=RL_REDIS_PASSWORD_FILE=%d/"]);
    let with_socket = with(&["Environment=RL_ADDR=unix:/", "RuntimeDirectory=", "Group="]);
    for unit in [unit.clone(), with_password, with_socket] {
        let Some((_, errors)) = analyze(&["verify"], &unit) else {
            return;
        };
        assert!(errors.is_empty(), "{errors}");
    }
}

#[test]
fn the_unit_is_sandboxed_and_has_resource_limits() {
    let unit = unit();
    let lines: Vec<&str> = unit.lines().collect();
    for line in [
        "MemoryMax=2560M",
        "TasksMax=512",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "PrivateUsers=yes",
        "ProcSubset=pid",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectProc=invisible",
        "ProtectSystem=strict",
        "RemoveIPC=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "UMask=0077",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    // Tenths of systemd's exposure level, from 0 to 100: 15 with systemd 252. What remains is mostly network access.
    analyze(&["security", "--offline=yes", "--threshold=18"], &unit);
}

#[test]
fn variables_of_the_unit_and_the_image_are_flags() {
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
fn the_image_is_built_with_the_toolchain_of_the_workspace() {
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

/// The image is built from all files in git.
#[test]
fn only_what_git_ignores_is_left_out_of_the_build() {
    let ignored = read(".gitignore");
    let left_out = read("server/Dockerfile.dockerignore");
    for line in left_out.lines().filter(|line| *line != ".git") {
        let is_ignored = |known: &str| known.trim_matches('/') == line;
        assert!(ignored.lines().any(is_ignored), "{line}");
    }
}
