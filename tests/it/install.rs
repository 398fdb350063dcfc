//! `make install` and `make uninstall`, in a directory of the test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rl_tests::{RedisServer, Setup, artifacts, project};

/// Runs make with this target and these variables, on the programs under test.
fn make(target: &str, variables: &[(&str, &str)]) -> Output {
    let release = artifacts().module.parent().expect("a directory");
    Command::new("make")
        .arg(target)
        .current_dir(project())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env("RELEASE", release)
        .envs(variables.iter().copied())
        .output()
        .expect("make runs")
}

fn succeeds(target: &str, variables: &[(&str, &str)]) {
    let output = make(target, variables);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

/// All files below a directory, as paths from there.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).expect("below").to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

#[test]
fn redis_loads_the_module_by_the_installed_configuration() {
    let prefix = tempfile::tempdir().expect("a directory");
    let path = prefix.path().to_str().expect("UTF-8");
    succeeds("install", &[("PREFIX", path)]);
    let config = prefix.path().join("share/redis-rl/rl.conf");
    let server = RedisServer::start_as(Setup::without_module(&[
        "--include",
        config.to_str().expect("UTF-8"),
    ]));
    assert_eq!(
        server.connect().limit("RL.TOKEN k 1/1000d 20")[..2],
        [1, 20]
    );
    // The module is in use while it is replaced and while it is removed.
    succeeds("install", &[("PREFIX", path)]);
    assert_eq!(server.connect().limit("RL.TOKEN k 1/1000d 20")[2], 18);
    succeeds("uninstall", &[("PREFIX", path)]);
    assert_eq!(server.connect().limit("RL.TOKEN k 1/1000d 20")[2], 17);
}

#[test]
fn installed_files_name_the_prefix_and_not_destdir() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("UTF-8");
    succeeds("install", &[("DESTDIR", root), ("PREFIX", "/opt/rl")]);
    let read = |path: &str| fs::read_to_string(dir.path().join("opt/rl").join(path)).expect(path);
    let unit = read("lib/systemd/system/rl-server.service");
    assert!(
        unit.contains("\nExecStart=/opt/rl/bin/rl-server\n"),
        "{unit}"
    );
    let config = read("share/redis-rl/rl.conf");
    assert!(config.ends_with("\nloadmodule /opt/rl/lib/redis/modules/librl.so\n"));
    for text in [unit, config] {
        assert!(
            !text.contains("/usr/local") && !text.contains(root),
            "{text}"
        );
    }
}

#[test]
fn installed_programs_are_stripped_and_executable() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("UTF-8");
    succeeds("install", &[("DESTDIR", root), ("DEBUG_FILES", "1")]);
    for (path, built) in [
        ("lib/redis/modules/librl.so", &artifacts().module),
        ("bin/rl-server", &artifacts().server),
    ] {
        let path = dir.path().join("usr/local").join(path);
        let installed = fs::metadata(&path).expect("installed");
        assert_eq!(installed.permissions().mode() & 0o777, 0o755);
        assert!(installed.len() * 2 < fs::metadata(built).expect("built").len());
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        let debug = path.with_file_name(format!(".debug/{name}.debug"));
        assert!(fs::metadata(&debug).expect("a debug file").len() > installed.len());
        let sections = Command::new("objdump").arg("-h").arg(&path).output();
        let sections = String::from_utf8(sections.expect("binutils").stdout).expect("UTF-8");
        assert!(sections.contains(".gnu_debuglink") && !sections.contains(".debug_line"));
    }
}

#[test]
fn uninstall_removes_what_install_added_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("UTF-8");
    let foreign = dir.path().join("usr/local/lib/redis/modules/other.so");
    fs::create_dir_all(foreign.parent().expect("a parent")).expect("created");
    fs::write(&foreign, "").expect("written");
    let before = files(dir.path());
    succeeds("install", &[("DESTDIR", root), ("DEBUG_FILES", "1")]);
    assert!(files(dir.path()).len() > 10);
    succeeds("uninstall", &[("DESTDIR", root)]);
    assert_eq!(files(dir.path()), before);
    assert!(!dir.path().join("usr/local/share/redis-rl").exists());
}

#[test]
fn a_wrong_prefix_is_an_error_that_names_it() {
    for target in ["install", "uninstall"] {
        for (variable, value) in [
            ("PREFIX", "usr"),
            ("PREFIX", "/usr/"),
            ("PREFIX", "/my files"),
            ("PREFIX", "/usr|x"),
            ("DESTDIR", "stage"),
        ] {
            let output = make(target, &[(variable, value)]);
            let error = String::from_utf8_lossy(&output.stderr);
            let expected = format!("make {target}: {variable} must be an absolute path");
            assert!(error.contains(&expected), "{error}");
        }
    }
}

#[test]
fn without_a_build_install_says_what_to_do_and_installs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("UTF-8");
    let output = make("install", &[("DESTDIR", root), ("RELEASE", "/nonexistent")]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("run make build first"), "{error}");
    assert_eq!(files(dir.path()), BTreeSet::new());
}
