//! The policy-rc.d that `tests/packages.sh` writes while it installs packages, and removes.
//!
//! The script runs in its own mount namespace, with an empty `/usr/sbin` and an apt-get that installs nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use rl_tests::{Process, eventually, project};
use tempfile::TempDir;

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Creates a file while it "installs", and waits until the test lets it end.
const APT_GET: &str = "#!/bin/sh
[ \"$1\" = install ] || exit 0
touch \"$DIR/installing\"
until [ -e \"$DIR/go\" ]; do sleep 0.01; done
rm \"$DIR/installing\" \"$DIR/go\"
";

/// A shell in the namespace, which the test sends lines to.
struct Machine {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Machine {
    /// `None`, with a line on the output, where no namespace can be created.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let apt_get = dir.path().join("apt-get");
        fs::write(&apt_get, APT_GET).expect("written");
        fs::set_permissions(&apt_get, fs::Permissions::from_mode(0o755)).expect("set");
        let path = std::env::var("PATH").expect("a PATH");
        let mut child = Command::new("unshare")
            .args(["--map-root-user", "--mount", "bash"])
            .current_dir(project())
            .env("DIR", dir.path())
            .env("PATH", format!("{}:{path}", dir.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut machine = Self {
            input: child.stdin.take().expect("piped"),
            output: BufReader::new(child.stdout.take().expect("piped")),
            _process: child.into(),
            dir,
        };
        let is_mounted = machine
            .run("mount -t tmpfs none /usr/sbin; ls /usr/sbin")
            .as_deref()
            == Some("");
        if !is_mounted {
            println!("skipped: no mount namespace can be created here");
        }
        is_mounted.then_some(machine)
    }

    /// Runs a line and returns what it prints, or `None` once the shell has ended.
    fn run(&mut self, line: &str) -> Option<String> {
        writeln!(self.input, "{line}\necho =").ok()?;
        let mut printed = String::new();
        loop {
            let start = printed.len();
            self.output
                .read_line(&mut printed)
                .ok()
                .filter(|read| *read > 0)?;
            if &printed[start..] == "=\n" {
                printed.truncate(start);
                return Some(printed.trim_end().to_owned());
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the policy replies for a service that is to start: 101 forbids it; 0, or `none` without a policy, allows
    /// it.
    fn policy(&mut self) -> String {
        let line = format!(
            "if [ -x {POLICY} ]; then {POLICY} redis-server start; echo $?; else echo none; fi"
        );
        self.run(&line).expect("a shell")
    }

    /// Runs tests/packages.sh until it installs something. Returns the process ids of the script.
    fn install(&mut self) -> String {
        let line = "tests/packages.sh >/dev/null 2>&1 & echo $!";
        let script = self.run(line).expect("a shell");
        eventually("packages to be installed", || {
            self.file("installing").exists().then_some(())
        });
        // There may be another shell between the script and apt-get.
        let child = format!("pgrep --parent {script} bash");
        format!("{script} {}", self.run(&child).expect("a shell"))
    }

    /// Lets apt-get end.
    fn finish(&self) {
        fs::write(self.file("go"), "").expect("written");
        eventually("apt-get to end", || {
            (!self.file("installing").exists()).then_some(())
        });
    }

    fn wait_for_policy(&mut self, expected: &str) {
        eventually(&format!("policy {expected}"), || {
            (self.policy() == expected).then_some(())
        });
    }
}

#[test]
fn no_service_starts_while_packages_are_installed() {
    let Some(mut machine) = Machine::start() else {
        return;
    };
    machine.install();
    assert_eq!(machine.policy(), "101");
    machine.finish();
    machine.wait_for_policy("none");
}

#[test]
fn a_killed_installation_blocks_no_service_from_starting() {
    let Some(mut machine) = Machine::start() else {
        return;
    };
    let script = machine.install();
    machine.run(&format!("kill -KILL {script}"));
    assert_eq!(machine.policy(), "101", "apt-get still installs");
    machine.finish();
    machine.wait_for_policy("0");
    // The next installation removes the policy that this one left.
    machine.install();
    assert_eq!(machine.policy(), "101");
    machine.finish();
    machine.wait_for_policy("none");
}

#[test]
fn an_interrupted_installation_removes_its_policy_after_apt_get() {
    for signal in ["TERM", "HUP"] {
        let Some(mut machine) = Machine::start() else {
            return;
        };
        let script = machine.install();
        machine.run(&format!("kill -{signal} {script}"));
        assert_eq!(machine.policy(), "101", "apt-get still installs");
        machine.finish();
        machine.wait_for_policy("none");
    }
}

#[test]
fn an_existing_policy_is_not_changed() {
    let Some(mut machine) = Machine::start() else {
        return;
    };
    let foreign = format!("printf '#!/bin/sh\\nexit 104\\n' >{POLICY}; chmod 755 {POLICY}");
    machine.run(&foreign);
    machine.install();
    assert_eq!(machine.policy(), "104");
    machine.finish();
    machine.run("wait");
    assert_eq!(machine.policy(), "104");
}
