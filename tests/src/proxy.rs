//! Real proxies, each with a given configuration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{Process, eventually, listens, project};

/// The proxies that server/README.md has a configuration for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `auth_request`; its configuration is the inside of an `http` block.
    Nginx,
    /// An action in Lua; its configuration is two files.
    Haproxy,
    /// `ext_authz` over HTTP.
    Envoy,
    /// `forwardAuth`; its configuration is two files.
    Traefik,
    /// `forward_auth`.
    Caddy,
}

/// A running proxy in one process, killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    _process: Process,
    _dir: TempDir,
}

impl Proxy {
    /// Starts the program and waits until it listens on `port`. In `files`, the directory of this process replaces that
    /// of [`Program::etc`]. Prints that the test is skipped and returns `None` if the program is not installed.
    ///
    /// # Panics
    ///
    /// If the program exits; the message has its log.
    #[must_use]
    pub fn start(program: Program, files: &[String], port: u16) -> Option<Self> {
        let Some(path) = program.path() else {
            let name = program.name();
            println!("skipped: {name} is not installed; tests/packages.sh full installs it");
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        program.write(files, dir.path());
        let mut process = Process::start(&mut program.command(&path, dir.path()));
        eventually("the proxy to listen", || {
            let log = || fs::read_to_string(dir.path().join("log"));
            assert_eq!(process.ended(), None, "{program:?} exited: {:?}", log());
            listens(port).then_some(())
        });
        Some(Self {
            _process: process,
            _dir: dir,
        })
    }
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
        }
    }

    /// The directory that configurations name, such as `/etc/haproxy/`.
    #[must_use]
    pub fn etc(self) -> String {
        format!("/etc/{}/", self.name())
    }

    /// The files of a configuration, in the order in which the documentation shows them.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Haproxy => &["haproxy.cfg", "limit.lua"],
            Self::Envoy => &["envoy.yaml"],
            Self::Traefik => &["traefik.yaml", "limits.yaml"],
            Self::Caddy => &["Caddyfile"],
        }
    }

    /// Writes the configuration to this directory.
    fn write(self, files: &[String], dir: &Path) {
        let names = self.files();
        assert_eq!(files.len(), names.len(), "{names:?}: {files:?}");
        for (name, text) in names.iter().zip(files) {
            let own = format!("{}/", dir.display());
            let text = self.complete(&text.replace(&self.etc(), &own));
            fs::write(dir.join(name), text).expect("a configuration");
        }
    }

    /// The command that runs the configuration in this directory.
    fn command(self, path: &Path, dir: &Path) -> Command {
        let log = File::create(dir.join("log")).expect("a log");
        let mut command = Command::new(path);
        command
            .current_dir(dir)
            .args(self.arguments())
            // Caddy has its files there.
            .env("XDG_DATA_HOME", dir)
            .env("XDG_CONFIG_HOME", dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        command
    }

    /// Adds to a file what keeps the program in one process and its files in its directory, without other ports.
    fn complete(self, file: &str) -> String {
        match self {
            Self::Nginx => {
                let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|kind| format!("{kind}_temp_path {kind};\n"))
                    .concat();
                format!(
                    "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\nevents {{}}\n\
                     http {{\naccess_log off;\n{temporary}{file}}}\n"
                )
            }
            Self::Caddy => format!("{{\n    admin off\n    persist_config off\n}}\n{file}"),
            Self::Haproxy | Self::Envoy | Self::Traefik => file.to_owned(),
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["-p", ".", "-c", "nginx.conf", "-e", "stderr"],
            Self::Haproxy => &["-db", "-f", "haproxy.cfg"],
            // Without the shared memory by which one Envoy replaces another.
            Self::Envoy => &["-c", "envoy.yaml", "--disable-hot-restart"],
            Self::Traefik => &["--configFile=traefik.yaml"],
            Self::Caddy => &["run", "--config", "Caddyfile", "--adapter", "caddyfile"],
        }
    }

    /// Debian has packages of nginx and HAProxy. tests/servers.sh fetches the others.
    fn path(self) -> Option<PathBuf> {
        let name = self.name();
        match self {
            Self::Nginx | Self::Haproxy => installed(name),
            Self::Envoy | Self::Traefik | Self::Caddy => fetched(name),
        }
    }
}

/// The program of this name in a directory of PATH, or in `/usr/sbin`, where Debian installs servers and which is not in
/// a user's PATH.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut files = dirs.map(|dir| dir.join(name));
    files.find(|file| file.is_file())
}

/// The file `name` in a directory `name-VERSION`.
fn fetched(name: &str) -> Option<PathBuf> {
    let dirs = fs::read_dir(project().join("tests/servers/proxies")).ok()?;
    let of_program = |dir: &Path| {
        let dir = dir.file_name()?.to_str()?;
        let (program, _version) = dir.rsplit_once('-')?;
        (program == name).then_some(())
    };
    let mut dirs = dirs.filter_map(|dir| Some(dir.ok()?.path()));
    let dir = dirs.find(|dir| of_program(dir).is_some())?;
    // The proxy runs in a directory of its own.
    dir.join(name).canonicalize().ok()
}
