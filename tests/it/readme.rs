use std::process::Command;

use rl_tests::{HttpServer, RedisServer, examples, project};

/// Runs README's console blocks in order, on a server of the test's in the place of the ones at the usual ports.
#[test]
fn readme_s_commands_print_readme_s_output() {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("a README");
    let examples = examples(&readme);
    assert!(examples.len() > 20, "only {} examples", examples.len());
    let redis = RedisServer::start();
    let http = HttpServer::start(&["-redis", &redis.url()]);
    for example in examples {
        // README shows what a terminal shows; redis-cli prints it to a pipe only when told to.
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
            "$ {}\nREADME shows:\n{shown}\nprinted:\n{printed}",
            example.command
        );
    }
}

/// Each error text of the module stands in README.
#[test]
fn readme_names_every_error() {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("a README");
    let source =
        std::fs::read_to_string(project().join("module/src/error.rs")).expect("the errors");
    let texts: Vec<&str> = source
        .split('"')
        .filter(|text| text.starts_with("ERR ") || text.starts_with("WRONGTYPE "))
        .collect();
    assert!(texts.len() > 8, "{texts:?}");
    for text in texts {
        let text = text
            .replace("{what}", "burst")
            .replace("{command}", "rl.token");
        assert!(readme.contains(&text), "not in README: {text}");
    }
}

#[test]
fn readme_links_to_what_is_there() {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("README.md");
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut links = links.filter(|link| !link.starts_with('#')).peekable();
    assert!(links.peek().is_some());
    for link in links {
        assert!(project().join(link).exists(), "README links to {link}");
    }
}

/// README's table of servers names each that is fetched.
#[test]
fn readme_names_every_server() {
    let read = |path| std::fs::read_to_string(project().join(path)).expect("a text");
    let (readme, script) = (read("README.md"), read("tests/servers.sh"));
    let names = script
        .lines()
        .filter_map(|line| line.strip_prefix("server ")?.split(' ').next());
    let mut servers = 0;
    for name in names {
        let (kind, version) = name.split_once('-').expect("a name with a version");
        let kind = kind.replace("redis", "Redis").replace("valkey", "Valkey");
        let row = format!("| {kind} {version}");
        assert!(readme.contains(&row), "not in README: {row}");
        servers += 1;
    }
    assert_eq!(servers, 8);
}

/// README's table of flags is `rl-server -help`'s, and the reverse.
#[test]
fn readme_names_every_flag_with_its_variable_and_default() {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("a README");
    let output = Command::new(&rl_tests::artifacts().server)
        .arg("-h")
        .env_clear()
        .output()
        .expect("built");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut flags = 0;
    // What help says of a flag may stand on its line or below it.
    let entries = help.split("  --").skip(1);
    for entry in entries.filter(|entry| entry.contains("[env: ")) {
        let between = |from: &str, to: &str| {
            entry
                .split_once(from)
                .and_then(|(_, rest)| rest.split(to).next())
                .expect("help's form")
        };
        let default = match between("[default: ", "]") {
            "\"\"" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let row = format!(
            "| `-{}` | `{}` | {default} |",
            between("", " ").split('[').next().expect("a name"),
            between("[env: ", "]").trim_end_matches('=')
        );
        assert!(readme.contains(&row), "not in README: {row}");
        flags += 1;
    }
    assert_eq!(
        flags,
        readme
            .lines()
            .filter(|line| line.starts_with("| `-"))
            .count()
    );
}

/// README tells of each relation to which a bound is kept just that bound, its goal, and whether that is met.
#[test]
fn readme_tells_the_bounds_that_are_kept() {
    let read = |path| std::fs::read_to_string(project().join(path)).expect("a text");
    let (readme, bounds) = (read("README.md"), read("tests/benches/instructions.txt"));
    let lines = bounds.lines().filter(|line| !line.starts_with('#'));
    let mut told = 0;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [call, of, bound, goal] = words[..] else {
            continue;
        };
        let (Ok(measured), Ok(aim)) = (bound.parse::<f64>(), goal.parse::<f64>()) else {
            continue;
        };
        let met = if measured <= aim { "yes" } else { "no" };
        let (head, tail) = (
            format!("| `{call}` of `{of}` |"),
            format!("| {bound} | {goal} | {met} |"),
        );
        let row = readme.lines().find(|row| row.starts_with(&head));
        assert!(row.is_some_and(|row| row.ends_with(&tail)), "{head} {tail}");
        told += 1;
    }
    assert!(told > 9, "{told}");
}
