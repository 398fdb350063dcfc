//! The module that changes keys in callbacks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{artifacts, project};

/// `tests/modules/meddler.c`, built once per run.
///
/// # Panics
///
/// If the build fails.
pub fn meddler() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let module = artifacts().module.with_file_name("meddler.so");
        // Several test runs may build it at the same time, each into its own file.
        let own = module.with_extension(std::process::id().to_string());
        let built = Command::new("cc")
            .args([
                "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-shared", "-fPIC", "-o",
            ])
            .arg(&own)
            .arg(project().join("tests/modules/meddler.c"))
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cc does not build meddler.c"
        );
        std::fs::rename(&own, &module).expect("renamed");
        module
    })
}
