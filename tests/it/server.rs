use redis::Value;
use rl_tests::{Redis, RedisServer, artifacts, eventually, version};

/// Every command except RL.TOP, which takes no key and has categories of its own.
const COMMANDS: [&str; 6] = [
    "rl.token",
    "rl.leaky",
    "rl.peek",
    "rl.info",
    "rl.multi",
    "rl.throttle",
];

/// Checks that the reply to `line` contains each of `texts`.
fn assert_reply_contains(redis: &mut Redis, line: &str, texts: &[&str]) {
    let reply = format!("{:?}", redis.value(line));
    for text in texts {
        let bytes = format!("{:?}", text.as_bytes());
        let as_bytes = bytes.trim_matches(['[', ']']);
        assert!(
            reply.contains(text) || reply.contains(as_bytes),
            "{line}: no {text} in {reply}"
        );
    }
}

#[test]
fn command_info_reports_arity_flags_and_keys() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for (name, arity, flags) in [
        ("rl.token", "-4", "write denyoom fast"),
        ("rl.leaky", "-4", "write denyoom fast"),
        ("rl.peek", "-2", "readonly fast"),
        ("rl.info", "2", "readonly fast"),
        ("rl.multi", "-6", "write denyoom"),
        ("rl.throttle", "-5", "write denyoom fast"),
    ] {
        let line = format!("COMMAND INFO {name}");
        assert_reply_contains(&mut redis, &line, &flags.split(' ').collect::<Vec<_>>());
        if version() < [7, 0] {
            println!("skipped: this server takes no arity and no key specifications from a module");
            continue;
        }
        assert_reply_contains(&mut redis, &line, &[&format!("int({arity})"), "module"]);
        let access = if flags.starts_with("write") {
            ["RW", "access", "update"]
        } else {
            ["RO", "access", "RO"]
        };
        assert_reply_contains(&mut redis, &line, &access);
    }
    let reply = format!("{:?}", redis.value("COMMAND INFO rl.multi"));
    assert!(!reply.contains("\"fast\""), "{reply}");
    let of_top = ["admin", "int(0), int(0), int(0)"];
    assert_reply_contains(&mut redis, "COMMAND INFO rl.top", &of_top);
}

#[test]
fn command_getkeys_finds_every_key() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for (line, keys) in [
        ("rl.token k 10 20", vec!["k"]),
        ("rl.peek k", vec!["k"]),
        ("rl.info k", vec!["k"]),
        ("rl.throttle k 15 30 60", vec!["k"]),
        ("rl.multi a TOKEN 1 2 3", vec!["a"]),
        (
            "rl.multi a TOKEN 1 2 3 b LEAKY 1 2 3 c TOKEN 1 2 3",
            vec!["a", "b", "c"],
        ),
    ] {
        assert_eq!(
            redis.line::<Vec<String>>(&format!("COMMAND GETKEYS {line}")),
            keys,
            "{line}"
        );
    }
}

#[test]
fn command_docs_describes_every_command() {
    if version() < [7, 0] {
        println!("skipped: this server has no COMMAND DOCS");
        return;
    }
    let server = RedisServer::start();
    let mut redis = server.connect();
    for name in COMMANDS {
        assert_reply_contains(
            &mut redis,
            &format!("COMMAND DOCS {name}"),
            &["summary", "O(", "0.1.0", "arguments", "module", "key"],
        );
    }
    assert_reply_contains(
        &mut redis,
        "COMMAND DOCS rl.token",
        &[
            "burst", "COST", "PARTIAL", "FORCE", "REFUND", "optional", "oneof",
        ],
    );
    assert_reply_contains(
        &mut redis,
        "COMMAND DOCS rl.multi",
        &["TOKEN", "LEAKY", "capacity", "multiple"],
    );
}

/// `@read` or `@write`, `@fast` or `@slow`, and the category `@ratelimit` of the module.
#[test]
fn acl_categories_are_set_where_modules_can_have_them() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let commands: Result<Vec<String>, String> = redis.try_line("ACL CAT ratelimit");
    let Ok(mut listed) = commands else {
        assert!(version() < [7, 4], "{commands:?}");
        println!("skipped: this server has no categories for modules");
        return;
    };
    if version() == [7, 4] {
        println!("skipped: ACL CAT of this server lists no commands of modules");
    } else {
        listed.sort();
        let mut commands = COMMANDS;
        commands.sort_unstable();
        assert_eq!(listed, commands);
        let write: Vec<String> = redis.line("ACL CAT write");
        assert!(write.contains(&"rl.token".to_owned()) && !write.contains(&"rl.peek".to_owned()));
    }
    for name in COMMANDS {
        let line = format!("COMMAND INFO {name}");
        let access = if ["rl.peek", "rl.info"].contains(&name) {
            "@read"
        } else {
            "@write"
        };
        let speed = if name == "rl.multi" { "@slow" } else { "@fast" };
        assert_reply_contains(&mut redis, &line, &["@ratelimit", access, speed]);
    }
    redis.value("ACL SETUSER someone on nopass ~* +@ratelimit");
    redis.value("AUTH someone x");
    assert_eq!(redis.limit("RL.TOKEN k 10 20")[0], 1);
}

#[test]
fn info_counts_calls_by_outcome() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for line in [
        "RL.TOKEN k 1/1000d 2 COST 2",
        "RL.TOKEN k 1/1000d 2",
        "RL.TOKEN k 1/1000d 2",
        "RL.TOKEN k 1/1000d 2 COST 3",
        "RL.PEEK k",
        "RL.PEEK nothing",
        "RL.INFO k",
        "RL.MULTI a TOKEN 1/1000d 2 2",
        "RL.MULTI a TOKEN 1/1000d 2 2",
        "RL.THROTTLE t 15 30 60",
    ] {
        redis.value(line);
    }
    assert!(redis.try_line::<Value>("RL.TOKEN k x 2").is_err());
    assert!(redis.try_line::<Value>("RL.LEAKY k 1 2").is_err());
    assert_eq!(redis.value("RL.TOP"), redis.value("RL.TOP COUNT 10"));
    const OUTCOMES: [&str; 5] = ["allowed", "denied", "never", "peeked", "failed"];
    for (command, counts) in [
        ("token", [1, 2, 1, 0, 1]),
        ("leaky", [0, 0, 0, 0, 1]),
        ("peek", [0, 0, 0, 2, 0]),
        ("info", [0, 0, 0, 1, 0]),
        ("multi", [1, 1, 0, 0, 0]),
        ("throttle", [1, 0, 0, 0, 0]),
        ("top", [0, 0, 0, 2, 0]),
    ] {
        for (outcome, count) in OUTCOMES.iter().zip(counts) {
            let name = format!("rl_{command}_{outcome}");
            let value = redis.info("rl", &name);
            assert_eq!(value, Some(count.to_string()), "{name}");
        }
    }
    assert_eq!(redis.info("rl", "rl_panics").as_deref(), Some("0"));
}

#[test]
fn each_field_of_info_is_a_number() {
    let info: String = RedisServer::start().connect().line("INFO rl");
    let fields: Vec<_> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    assert!(fields.len() > 30, "{info}");
    for (name, value) in fields {
        assert!(
            name.starts_with("rl_") && value.parse::<u64>().is_ok(),
            "{name}:{value}"
        );
    }
}

#[test]
fn an_unknown_module_argument_prevents_loading() {
    let server = RedisServer::start_without_module(&[]);
    let mut redis = server.connect();
    let module = artifacts().module.display();
    assert!(
        redis
            .try_line::<Value>(&format!("MODULE LOAD {module} cl-throtle"))
            .is_err()
    );
    assert!(
        server
            .log()
            .contains("unknown module argument 'cl-throtle': there is only cl-throttle"),
        "{}",
        server.log()
    );
    redis.value(&format!("MODULE LOAD {module} CL-THROTTLE"));
    assert_eq!(redis.limit("CL.THROTTLE k 15 30 60"), [0, 16, 15, -1, 2]);
}

#[test]
fn a_second_module_of_the_same_name_does_not_load() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert!(
        redis
            .try_line::<Value>(&format!("MODULE LOAD {}", artifacts().module.display()))
            .is_err()
    );
    assert_eq!(redis.limit("RL.TOKEN k 10 20")[0], 1);
}

#[test]
fn buckets_survive_unloading_and_loading_the_module() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 20 COST 5");
    assert_reply_contains(&mut redis, "MODULE LIST", &["rl", "int(100)"]);
    for _ in 0..3 {
        redis.value("MODULE UNLOAD rl");
        assert!(redis.try_line::<Value>("RL.TOKEN k 1/1000d 20").is_err());
        redis.value(&format!("MODULE LOAD {}", artifacts().module.display()));
        assert_eq!(redis.limit("RL.PEEK k")[..3], [1, 20, 14]);
    }
    if redis.try_line::<Value>("ACL CAT ratelimit").is_ok() {
        redis.value("ACL SETUSER someone on nopass ~* +@ratelimit");
        redis.value("AUTH someone x");
        assert_eq!(redis.limit("RL.TOKEN k 1/1000d 20")[0], 1);
    }
}

/// Valkey 9 refuses CLUSTER MIGRATESLOTS unless every module supports it.
#[test]
fn slots_migrate_with_the_module_loaded() {
    let (source, target) = (
        RedisServer::start_cluster_node(&[]),
        RedisServer::start_cluster_node(&[]),
    );
    let (mut on_source, mut on_target) = (source.connect(), target.connect());
    on_source.add_slots();
    on_source.value(&format!("CLUSTER MEET 127.0.0.1 {}", target.port()));
    eventually("the two to be one cluster", || {
        let both = on_source
            .line::<String>("CLUSTER NODES")
            .matches("connected")
            .count()
            == 2;
        let up = |redis: &mut Redis| {
            redis
                .line::<String>("CLUSTER INFO")
                .contains("cluster_state:ok")
        };
        (both && up(&mut on_source) && up(&mut on_target)).then_some(())
    });
    on_source.limit("RL.TOKEN k 1/1000d 20 COST 5");
    let slot: i64 = on_source.line("CLUSTER KEYSLOT k");
    let node: String = on_target.line("CLUSTER MYID");
    let migrate = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {node}");
    match on_source.try_line::<Value>(&migrate) {
        Err(error) if error.to_lowercase().contains("unknown subcommand") => {
            println!("skipped: this server has no CLUSTER MIGRATESLOTS");
            return;
        }
        reply => reply.expect("the migration starts"),
    };
    let reply = eventually("the slot to arrive", || {
        on_target.try_line::<Vec<i64>>("RL.PEEK k COST 0").ok()
    });
    assert_eq!(reply[..3], [1, 20, 15]);
}

/// redis-cli takes its hints from COMMAND DOCS.
#[test]
fn command_docs_lists_the_arguments_for_redis_cli() {
    if version() < [7, 0] {
        println!("skipped: this server has no COMMAND DOCS");
        return;
    }
    let server = RedisServer::start();
    let script = format!(
        "redis-cli -s {} COMMAND DOCS rl.token",
        server.socket().display()
    );
    let shown = eventually("redis-cli", || {
        let output = std::process::Command::new("bash")
            .args(["-c", &script])
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    });
    for word in ["rate", "burst", "cost", "COST", "PARTIAL"] {
        assert!(shown.contains(word), "{shown}");
    }
}
