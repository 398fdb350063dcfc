use std::process::Command;

use rl_tests::{
    Bound, DOCUMENTS, HttpServer, RedisServer, anchor, blocks, broken, document, examples,
    headings, links, project,
};

/// Runs the console examples of a document in order, on the test's servers in place of those at the default ports.
/// Returns their number.
fn run_examples(path: &str) -> usize {
    let examples = examples(&document(path));
    let redis = RedisServer::start();
    let policies = project().join("server/policies.toml");
    let policies = policies.to_str().expect("UTF-8");
    let http = HttpServer::start(&["-redis", &redis.url(), "-policies", policies]);
    for example in &examples {
        // A document shows what a terminal shows; redis-cli prints it to a pipe only with --no-raw.
        let command = example
            .command
            .replace(
                "redis-cli ",
                &format!("redis-cli -s {} --no-raw ", redis.socket().display()),
            )
            .replace(":8080", &format!(":{}", http.port()));
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(project())
            .output()
            .expect("bash runs");
        let printed =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let shown = example.output.join("\n");
        assert!(
            example.is_shown_by(&printed),
            "{path}: $ {}\nshown:\n{shown}\nprinted:\n{printed}",
            example.command
        );
    }
    examples.len()
}

#[test]
fn every_example_prints_the_output_shown() {
    let counts = DOCUMENTS.map(run_examples);
    let [readme, module, server, ..] = counts;
    assert!(readme >= 5 && module >= 20 && server >= 6, "{counts:?}");
}

#[test]
fn the_server_s_readme_shows_the_example_of_a_policies_file() {
    let without_comments = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim_end());
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    };
    let file = without_comments(&document("server/policies.toml"));
    let readme = document("server/README.md");
    let shown: Vec<_> = blocks(&readme, "toml")
        .into_iter()
        .map(|block| without_comments(&block))
        .collect();
    assert_eq!(shown, [file]);
}

#[test]
fn no_link_is_broken() {
    for path in DOCUMENTS {
        let links = links(&document(path));
        assert!(links.len() > 10, "{path}: {links:?}");
        let broken: Vec<String> = links.iter().filter_map(|link| broken(path, link)).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

#[test]
fn contents_list_every_section() {
    for path in DOCUMENTS {
        let text = document(path);
        let links = links(&text);
        for heading in headings(&text, 2) {
            let link = format!("#{}", anchor(&heading));
            let is_listed = heading == "Contents" || links.contains(&link);
            assert!(is_listed, "{path} does not list {heading}");
        }
    }
}

#[test]
fn readme_has_at_most_300_lines() {
    let lines = document("README.md").lines().count();
    assert!(lines <= 300, "{lines}");
}

#[test]
fn module_readme_names_every_error() {
    let readme = document("module/README.md");
    // A backslash at the end of a line joins it to the next one.
    let source = document("module/src/error.rs");
    let source: String = source.split("\\\n").map(str::trim_start).collect();
    let texts: Vec<&str> = source
        .split('"')
        .filter(|text| text.starts_with("ERR ") || text.starts_with("WRONGTYPE "))
        .collect();
    assert!(texts.len() > 8, "{texts:?}");
    for text in texts {
        let text = text
            .replace("{what}", "burst")
            .replace("{command}", "rl.token");
        assert!(readme.contains(&text), "missing: {text}");
    }
}

/// The table of servers has a row for each server that tests/servers.sh fetches.
#[test]
fn tests_readme_names_every_server() {
    let (readme, script) = (document("tests/README.md"), document("tests/servers.sh"));
    let names = script
        .lines()
        .filter_map(|line| line.strip_prefix("server ")?.split(' ').next());
    let mut servers = 0;
    for name in names {
        let (kind, version) = name.split_once('-').expect("a name with a version");
        let kind = kind.replace("redis", "Redis").replace("valkey", "Valkey");
        let row = format!("| {kind} {version}");
        assert!(readme.contains(&row), "missing: {row}");
        servers += 1;
    }
    assert_eq!(servers, 8);
}

/// The table of proxies has each that is fetched.
#[test]
fn tests_readme_names_every_proxy() {
    let (readme, script) = (document("tests/README.md"), document("tests/servers.sh"));
    let readme = readme.to_lowercase();
    let proxies = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("proxy "));
    let mut count = 0;
    for proxy in proxies {
        let mut words = proxy.split(' ');
        let (name, version) = (words.next().expect("a name"), words.next());
        let row = format!("| {name} {} |", version.expect("a version"));
        assert!(readme.contains(&row), "missing: {row}");
        count += 1;
    }
    assert_eq!(count, 3);
}

/// The table of flags has those of `rl-server -h` and no others.
#[test]
fn server_readme_names_every_flag_and_its_default() {
    let readme = document("server/README.md");
    let output = Command::new(&rl_tests::artifacts().server)
        .arg("-h")
        .env_clear()
        .output()
        .expect("built");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut flags = 0;
    // The help text of a flag is below it.
    let entries = help.split("\n  -").skip(1);
    for entry in entries.filter(|entry| entry.contains("[env: ")) {
        let between = |from: &str, to: &str| {
            entry
                .split_once(from)
                .and_then(|(_, rest)| rest.split(to).next())
                .expect("the format of -h")
        };
        let default = match between("[default: ", "]") {
            "none" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let row = format!(
            "| `-{}` | `{}` | {default} |",
            between("", " ").split('[').next().expect("a name"),
            between("[env: ", "]")
        );
        assert!(readme.contains(&row), "missing: {row}");
        flags += 1;
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `-"));
    assert_eq!(flags, rows.count());
}

/// The start and the end of the row of each ratio in this file that has a bound.
fn bounds<const N: usize>(path: &str) -> Vec<(String, String)> {
    let file = document(path);
    let bounds = Bound::<N>::read_all(&file).filter(|bound| bound.bound.is_some());
    let rows = bounds.map(|bound| {
        let (of, what) = bound.names.split_last().expect("some names");
        let head = format!("| `{}` of `{of}` |", what.join(" "));
        (head, format!("| {} |", bound.text))
    });
    rows.collect()
}

/// The tables have a row for each ratio that `make bench-instructions` and `make bench-http` check, with its bound.
#[test]
fn tests_readme_states_every_bound_of_the_benches() {
    let instructions = bounds::<2>("tests/benches/instructions.txt");
    let http = bounds::<3>("tests/benches/http.txt");
    assert!(instructions.len() >= 11 && !http.is_empty());
    let readme = document("tests/README.md");
    for (head, tail) in instructions.into_iter().chain(http) {
        let row = readme.lines().find(|row| row.starts_with(&head));
        assert!(row.is_some_and(|row| row.ends_with(&tail)), "{head} {tail}");
    }
}
