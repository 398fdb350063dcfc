//! Builds of the module with a deliberate bug, to prove that a test detects it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::{artifacts, project};

/// A bug, as a change of the source.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// The name of the build directory.
    pub name: &'static str,
    /// The source, below `module`.
    pub file: &'static str,
    /// A text that occurs once in the source, and its replacement.
    pub change: [&'static str; 2],
}

impl Bug {
    /// Builds the module with this bug alone and copies it into a directory. The build uses a copy of the source and
    /// takes a lock, so that other test runs do not build at the same time.
    ///
    /// # Panics
    ///
    /// If the source no longer contains the text to replace, or the build fails.
    #[must_use]
    pub fn build(&self, into: &Path) -> PathBuf {
        let release = artifacts().module.parent().expect("a directory");
        let all = release.with_file_name("planted");
        fs::create_dir_all(&all).expect("a directory");
        let lock = File::create(all.join("lock")).expect("a file");
        lock.lock().expect("a lock");
        let copy = all.join(self.name);
        copy_project(&copy);
        self.plant(&copy.join("module").join(self.file));
        // All copies build to one file, which Cargo keeps if only a manifest is newer than it.
        let source = File::options()
            .append(true)
            .open(copy.join("module/src/lib.rs"));
        source
            .expect("a source")
            .set_modified(SystemTime::now())
            .expect("set");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "rl-module", "--target-dir"])
            .arg(all.join("target"))
            .current_dir(&copy)
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "{self:?} does not build"
        );
        let module = into.join("librl.so");
        fs::copy(all.join("target/debug/librl.so"), &module).expect("a copy");
        module
    }

    fn plant(&self, path: &Path) {
        let source = fs::read_to_string(path).expect("a source");
        let [before, after] = self.change;
        assert_eq!(source.matches(before).count(), 1, "{self:?}");
        fs::write(path, source.replace(before, after)).expect("written");
    }
}

/// Copies the module. The other packages are links, because Cargo only needs their manifests.
fn copy_project(copy: &Path) {
    let _ = fs::remove_dir_all(copy);
    fs::create_dir_all(copy).expect("a directory");
    let project = project().canonicalize().expect("the project");
    for rest in ["server", "tests"] {
        symlink(project.join(rest), copy.join(rest)).expect("a link");
    }
    for own in ["Cargo.toml", "Cargo.lock", "module"] {
        let copied = Command::new("cp")
            .args(["-r", "--preserve=timestamps"])
            .args([project.join(own), copy.join(own)])
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "{own}");
    }
}
