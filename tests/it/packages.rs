//! What `tests/packages.sh` leaves behind, in a mount namespace of its own with an empty `/usr/sbin` and an apt-get that installs
//! nothing: no package of this machine is touched.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use rl_tests::{Process, eventually, project};
use tempfile::TempDir;

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Says that a package is being installed, and waits until it may end.
const APT_GET: &str = "#!/bin/sh
[ \"$1\" = install ] || exit 0
touch \"$DIR/installing\"
until [ -e \"$DIR/go\" ]; do sleep 0.01; done
rm \"$DIR/installing\" \"$DIR/go\"
";

/// A shell in the namespace.
struct Machine {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Machine {
    /// `None`, said in a line, where no namespace can be had.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let apt_get = dir.path().join("apt-get");
        fs::write(&apt_get, APT_GET).expect("written");
        fs::set_permissions(&apt_get, fs::Permissions::from_mode(0o755)).expect("ours");
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
            println!("skipped: no namespace can be had here");
        }
        is_mounted.then_some(machine)
    }

    /// What the line prints; `None` once the shell has ended.
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

    /// What the policy says of a service that is to start: 101 forbids it, `none` and 0 allow it.
    fn policy(&mut self) -> String {
        let line = format!(
            "if [ -x {POLICY} ]; then {POLICY} redis-server start; echo $?; else echo none; fi"
        );
        self.run(&line).expect("a shell")
    }

    /// Runs tests/packages.sh until it installs something. Gives the processes of the script.
    fn install(&mut self) -> String {
        let line = "tests/packages.sh >/dev/null 2>&1 & echo $!";
        let script = self.run(line).expect("a shell");
        eventually("packages to be installed", || {
            self.file("installing").exists().then_some(())
        });
        // A child of the script's, if there is one between it and apt-get.
        let child = format!("pgrep --parent {script} bash");
        format!("{script} {}", self.run(&child).expect("a shell"))
    }

    /// Lets apt-get end.
    fn go_on(&self) {
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
    machine.go_on();
    machine.wait_for_policy("none");
}

#[test]
fn a_killed_installation_keeps_no_service_from_starting() {
    let Some(mut machine) = Machine::start() else {
        return;
    };
    let script = machine.install();
    machine.run(&format!("kill -KILL {script}"));
    assert_eq!(machine.policy(), "101", "apt-get still installs");
    machine.go_on();
    machine.wait_for_policy("0");
    // The next one removes what this one has left.
    machine.install();
    assert_eq!(machine.policy(), "101");
    machine.go_on();
    machine.wait_for_policy("none");
}

#[test]
fn an_ended_installation_removes_the_policy_after_apt_get() {
    for signal in ["TERM", "HUP"] {
        let Some(mut machine) = Machine::start() else {
            return;
        };
        let script = machine.install();
        machine.run(&format!("kill -{signal} {script}"));
        assert_eq!(machine.policy(), "101", "apt-get still installs");
        machine.go_on();
        machine.wait_for_policy("none");
    }
}

#[test]
fn a_policy_of_somebody_else_s_is_left_alone() {
    let Some(mut machine) = Machine::start() else {
        return;
    };
    let foreign = format!("printf '#!/bin/sh\\nexit 104\\n' >{POLICY}; chmod 755 {POLICY}");
    machine.run(&foreign);
    machine.install();
    assert_eq!(machine.policy(), "104");
    machine.go_on();
    machine.run("wait");
    assert_eq!(machine.policy(), "104");
}
