//! The systemd unit, the Dockerfile, and the examples for Compose and Kubernetes: the files, flags, paths and versions
//! that they name must exist. tests/dist.sh runs the unit, and tests/images.sh lints the others.

use std::fs;
use std::process::Command;

use rl_tests::{artifacts, project};

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).expect(path)
}

/// The program of the unit, before `make install` writes its own path.
const PROGRAM: &str = "/usr/local/bin/rl-server";

/// What runs the images.
const EXAMPLES: [&str; 2] = ["packaging/compose.yaml", "packaging/kubernetes.yaml"];

/// The unit, with the path of the built program.
fn unit() -> String {
    let unit = read("packaging/rl-server.service");
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
fn variables_of_the_unit_and_the_images_are_flags() {
    let help = Command::new(&artifacts().server)
        .arg("-h")
        .output()
        .expect("built");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let mut text = read("packaging/rl-server.service") + &read("packaging/rl-server.default");
    text += &read("packaging/Dockerfile");
    text.extend(EXAMPLES.map(read));
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let mut variables = words.filter(|word| word.starts_with("RL_")).peekable();
    assert!(variables.peek().is_some());
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}")), "{variable}");
    }
}

/// The value of a field of the workspace in Cargo.toml.
fn workspace(field: &str) -> String {
    let start = format!("{field} = ");
    let manifest = read("Cargo.toml");
    let value = manifest.lines().find_map(|line| line.strip_prefix(&start));
    value.expect("a field").trim_matches('"').to_owned()
}

#[test]
fn images_are_built_with_the_toolchain_of_the_workspace() {
    let dockerfile = read("packaging/Dockerfile");
    let version = workspace("rust-version");
    let image = format!("FROM rust:{version}.0-slim-bookworm AS tools");
    assert!(dockerfile.lines().any(|line| line == image), "{image}");
}

#[test]
fn images_contain_what_make_install_installs() {
    let (dockerfile, script) = (read("packaging/Dockerfile"), read("packaging/install.sh"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY --from=build /image/usr/"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(copied.len() >= 3, "{copied:?}");
    for path in copied {
        let is_target = |line: &str| line.split_whitespace().last() == Some(path);
        assert!(script.lines().any(is_target), "{path}");
    }
}

/// What else names the version, which is that of the workspace.
#[test]
fn images_have_the_version_of_the_workspace() {
    let version = workspace("version");
    let text = read("packaging/Dockerfile");
    assert_eq!(text.matches("image.version=").count(), 3);
    assert_eq!(
        text.matches(&format!("image.version=\"{version}\""))
            .count(),
        3
    );
    for path in EXAMPLES {
        let text = read(path);
        let images: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("redis-rl/"))
            .collect();
        assert!(images.len() >= 2, "{path}");
        let tag = format!(":{version}");
        assert!(images.iter().all(|line| line.ends_with(&tag)), "{images:?}");
    }
    let heading = format!("## {version}");
    assert!(read("CHANGELOG.md").lines().any(|line| line == heading));
}

#[test]
fn pods_of_the_example_pass_the_restricted_profile() {
    let text = read("packaging/kubernetes.yaml");
    let count = |part: &str| text.matches(part).count();
    let pods = count("kind: Deployment");
    assert_eq!(pods, 2);
    for field in [
        "runAsNonRoot: true",
        "seccompProfile: { type: RuntimeDefault }",
        "allowPrivilegeEscalation: false",
        "capabilities: { drop: [ALL] }",
    ] {
        assert_eq!(count(field), pods, "{field}");
    }
    assert_eq!(count("pod-security.kubernetes.io/enforce: restricted"), 1);
    for field in [
        "hostPath",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostPort",
        "privileged:",
    ] {
        assert_eq!(count(field), 0, "{field}");
    }
}

/// Images are built from all files in git.
#[test]
fn only_what_git_ignores_is_left_out_of_the_build() {
    let ignored = read(".gitignore");
    let left_out = read("packaging/Dockerfile.dockerignore");
    for line in left_out.lines().filter(|line| *line != ".git") {
        let is_ignored = |known: &str| known.trim_matches('/') == line;
        assert!(ignored.lines().any(is_ignored), "{line}");
    }
}
