//! Builds the module and the server under test, once per run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The files under test.
#[derive(Debug)]
pub struct Artifacts {
    /// The module, `librl.so`.
    pub module: PathBuf,
    /// The HTTP server, `rl-server`.
    pub server: PathBuf,
}

/// The root directory of the project.
#[must_use]
pub fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Builds the release binaries if they are missing or out of date.
///
/// # Panics
///
/// If the build fails.
pub fn artifacts() -> &'static Artifacts {
    static BUILT: OnceLock<Artifacts> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--quiet",
                "--package",
                "rl-module",
                "--package",
                "rl-server",
            ])
            .current_dir(project())
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cargo build --release failed"
        );
        let release = std::env::var_os("CARGO_TARGET_DIR")
            .map_or(project().join("target"), PathBuf::from)
            .join("release");
        let release = release
            .canonicalize()
            .expect("the build creates its directory");
        Artifacts {
            module: release.join("librl.so"),
            server: release.join("rl-server"),
        }
    })
}
