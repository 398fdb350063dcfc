use std::process::Command;

use nix::sys::signal::Signal;
use rl_tests::{By, Load, PoliciesFile, Redis, artifacts, callers, eventually};

use crate::policies::start;

#[test]
fn a_faulty_file_is_refused_with_all_its_errors() {
    let file = PoliciesFile::new("[Login]\nlimits = []\n[a]\nlimits = [{ rate = \"1\" }]\nx = 1\n");
    let output = Command::new(&artifacts().server)
        .args([
            "-addr",
            "127.0.0.1:0",
            "-rate",
            "0",
            "-policies",
            file.path(),
        ])
        .output()
        .expect("rl-server was built");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    let path = file.path();
    for error in [
        "invalid value '0' for '-rate RATE'",
        &format!("{path}:1: Login: expected a lower-case letter"),
        &format!("{path}:2: Login.limits: expected a list such as"),
        &format!("{path}:4: a.limits[0]: no burst: add burst = 20"),
        &format!("{path}:5: a.x: unknown field; use key, limits or dry_run"),
    ] {
        assert_eq!(text.matches(error).count(), 1, "{error} in {text}");
    }
    let missing = Command::new(&artifacts().server)
        .args([
            "-addr",
            "127.0.0.1:0",
            "-policies",
            "/nonexistent/policies.toml",
        ])
        .output()
        .expect("rl-server was built");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_reload_under_load_loses_nothing_and_changes_the_limit() {
    let (redis, file, http) = start(&[]);
    let limit =
        |burst: u64| format!("[login]\nlimits = [{{ rate = \"1/1000d\", burst = {burst} }}]\n");
    let (first, second) = (1_000_000_000, 2_000_000_000);
    let in_force = |burst: u64| {
        file.write(&limit(burst));
        http.signal(Signal::SIGHUP);
        eventually("the new limit", || {
            let answer = http.get("/token/login");
            (answer.field("limit") == Some(&burst.to_string())).then_some(())
        });
    };
    in_force(first);
    let answers = Load::on(&http, "/token/login", &callers(64), |load| {
        for _ in 0..5 {
            load.wait_for(By::Redis, 200);
            in_force(second);
            load.wait_for(By::Redis, 200);
            in_force(first);
        }
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    let used = |redis: &mut Redis, caller: &str| {
        let key = format!("rl:{{token:login:{caller}}}");
        redis.limit(&format!("RL.TOKEN {key} 1/1000d {second} COST 0"))[2]
    };
    let mut connection = redis.connect();
    for caller in callers(64) {
        let sent = answers
            .iter()
            .filter(|answer| answer.caller == caller)
            .count();
        let remaining = used(&mut connection, &caller.to_string());
        let spent = i64::try_from(second).expect("in range") - remaining;
        assert_eq!(spent, i64::try_from(sent).expect("in range"), "{caller}");
    }
}

#[test]
fn a_faulty_reload_keeps_the_policies_and_is_counted() {
    let (_redis, file, http) = start(&[]);
    assert_eq!(http.get("/token/login").field("limit"), Some("5"));
    file.write("[login]\nlimits = 7\n");
    http.signal(Signal::SIGHUP);
    let error = http.wait_for_log("login.limits: expected a list");
    assert!(error.contains(&format!("{}:2:", file.path())), "{error}");
    http.wait_for_log("the policies from before stay in force");
    assert_eq!(http.get("/token/login").field("limit"), Some("5"));
    file.write("[other]\nlimits = [{ rate = \"1\", burst = 1 }]\n");
    http.signal(Signal::SIGHUP);
    http.wait_for_log("1 policies are in force");
    assert_eq!(http.get("/token/login").status, 404);
    assert_eq!(http.get("/token/other").status, 200);
    let metrics = http.get("/metrics").body;
    for result in ["ok", "error"] {
        let line = format!(r#"rl_policies_reloads_total{{result="{result}"}} 1"#);
        assert!(metrics.contains(&line), "{line}");
    }
}
