//! A real nginx with a given configuration.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Process, eventually, listens};

/// A running nginx without worker processes, killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    _dir: TempDir,
}

impl Nginx {
    /// Starts nginx with `http` inside its `http` block, and waits until it listens on `port`.
    ///
    /// # Panics
    ///
    /// If nginx is not installed or exits.
    #[must_use]
    pub fn start(http: &str, port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid pid;\nerror_log error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{http}}}\n"
        );
        std::fs::write(dir.path().join("nginx.conf"), config).expect("a configuration");
        let mut process = Process::start(
            Command::new(program())
                .arg("-p")
                .arg(dir.path())
                .args(["-c", "nginx.conf"])
                .stdin(Stdio::null()),
        );
        eventually("nginx to listen", || {
            assert_eq!(process.ended(), None, "nginx has ended:\n{http}");
            listens(port).then_some(())
        });
        Self {
            _process: process,
            _dir: dir,
        }
    }
}

/// Debian installs nginx in a directory that is not in a user's PATH.
fn program() -> &'static str {
    let usual = "/usr/sbin/nginx";
    if Path::new(usual).exists() {
        usual
    } else {
        "nginx"
    }
}
