//! Each fenced block of every Markdown file is run by a test, or says why not. `every_example_prints_the_output_shown`
//! runs those in the language console. The comment above any other says `run by PATH` or `not run: REASON`; it does
//! not show in the rendered page. The blocks of server/README.md and README.md whose comment names this file run here.

use std::path::Path;
use std::process::Command;

use rl_tests::{
    DOCUMENTS, Fenced, HttpServer, RedisServer, Setup, artifacts, document, fenced, project,
};

/// Why the comment above a block of the document at `path` is not enough; `None` if it is.
fn fault(path: &str, block: &Fenced) -> Option<&'static str> {
    if let Some(reason) = block.mark.strip_prefix("not run: ") {
        return (reason.len() < 10).then_some("no reason");
    }
    if let Some(file) = block.mark.strip_prefix("run by ") {
        let source = std::fs::read_to_string(project().join(file)).unwrap_or_default();
        return (!source.contains(path)).then_some("the file does not name the document");
    }
    let is_example = block.language == "console" && DOCUMENTS.contains(&path);
    (!is_example).then_some("no comment above it")
}

/// All Markdown files that are not ignored, as paths from the root.
fn markdown() -> Vec<String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.md",
        ])
        .current_dir(project())
        .output()
        .expect("git runs");
    let paths = String::from_utf8(output.stdout).expect("UTF-8");
    paths.lines().map(str::to_owned).collect()
}

#[test]
fn every_block_is_run_or_says_why_not() {
    let paths = markdown();
    assert!(
        DOCUMENTS
            .iter()
            .all(|path| paths.contains(&(*path).to_owned()))
    );
    let faults: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            let blocks = fenced(&document(path)).into_iter();
            blocks.filter_map(move |block| {
                let (line, language) = (block.line, &block.language);
                Some(format!(
                    "{path}:{line}: {language}: {}",
                    fault(path, &block)?
                ))
            })
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The blocks of a document that this file runs.
fn run_here(path: &str) -> Vec<Fenced> {
    let mut blocks = fenced(&document(path));
    blocks.retain(|block| block.mark == "run by tests/it/readme_blocks.rs");
    blocks
}

/// Starts rl-server as this line does, on a free port and with the test's Redis.
fn start(line: &str, redis: &RedisServer) -> HttpServer {
    let policies = project().join("server/policies.toml");
    let line = line.split(" #").next().unwrap_or_default();
    let line = line.replace("server/policies.toml", policies.to_str().expect("UTF-8"));
    let url = redis.url();
    // The last of a repeated flag counts.
    let flags = line.split_whitespace().skip(1);
    let flags = flags.chain(["-addr", "127.0.0.1:0", "-redis", &url]);
    HttpServer::start(&flags.collect::<Vec<_>>())
}

fn run(line: &str, redis: &RedisServer, http: Option<&HttpServer>) {
    let client = format!("redis-cli -s {} ", redis.socket().display());
    let port = http.map_or(0, HttpServer::port);
    let script = line
        .replace("redis-cli ", &client)
        .replace(":8080", &format!(":{port}"));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .output()
        .expect("bash runs");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let is_error = printed.contains("ERR ") || printed.contains("\"error\"");
    assert!(
        output.status.success() && !is_error,
        "{line}\nprinted:\n{printed}"
    );
}

#[test]
fn commands_of_the_server_s_readme_succeed() {
    let blocks = run_here("server/README.md");
    assert!(blocks.len() >= 5, "{blocks:?}");
    for block in blocks {
        let (redis, mut http) = (RedisServer::start(), None);
        for line in block.text.lines() {
            if line.starts_with("target/release/rl-server ") {
                http = Some(start(line, &redis));
            } else {
                run(line, &redis, http.as_ref());
            }
        }
    }
}

#[test]
fn documented_lines_load_the_module() {
    let blocks = run_here("README.md");
    let [block] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    let module = artifacts().module.to_str().expect("UTF-8");
    let loads = |line: &str| {
        let words = line.strip_prefix("loadmodule ")?;
        let (file, argument) = words.split_once(' ').unwrap_or((words, ""));
        assert_eq!(Path::new(file).file_name(), Path::new(module).file_name());
        let words = ["--loadmodule", module, argument];
        let words = words.into_iter().filter(|word| !word.is_empty());
        let setup = Setup::without_module(&words.collect::<Vec<_>>());
        let server = RedisServer::start_as(setup);
        let mut redis = server.connect();
        redis.limit("RL.TOKEN user 10 20");
        let has_other_name = redis.try_line::<Vec<i64>>("CL.THROTTLE user 9 9 9").is_ok();
        assert_eq!(has_other_name, argument == "cl-throttle", "{line}");
        Some(())
    };
    // The line of the block that includes this file loads the module too.
    let included = document("packaging/rl.conf");
    let lines = block.text.lines().chain(included.lines());
    assert_eq!(lines.filter_map(loads).count(), 2);
}
