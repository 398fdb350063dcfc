use std::process::Command;

use redis::Value;
use rl_tests::{
    By, Certificate, Cluster, HttpServer, Load, Port, Redis, RedisServer, Sentinels, artifacts,
    callers, document, eventually, program,
};

use crate::redis_password::PasswordFile;

/// So long that the cluster starts no failover.
const NEVER_MS: u32 = 60_000;

const KEY: &str = "rl:token:127.0.0.1";

/// Creates the user of server/README.md, with the documented rights, those in `more`, which must be documented too, and
/// no others.
pub(crate) fn add_user(redis: &mut Redis, more: &[&str]) {
    let readme = document("server/README.md");
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix("$ redis-cli ACL SETUSER "));
    let line = line.expect("a documented user").replace('\'', "");
    for right in more {
        assert!(
            readme.contains(&format!("`{right}`")),
            "not documented: {right}"
        );
    }
    redis.value(&format!("ACL SETUSER {line} {}", more.join(" ")));
}

/// Its name and password, as in an address.
pub(crate) const USER: &str = "rl-server:a-password";

fn assert_nothing_refused(redis: &mut Redis) {
    let log: Vec<Value> = redis.line("ACL LOG");
    assert!(log.is_empty(), "{log:?}");
}

/// Checks that rl-server works with `address`, and that the bucket is in this database.
fn assert_used(redis: &RedisServer, database: u8, address: &str) {
    assert_used_by(redis, database, address, &[]);
}

/// Like `assert_used`, with more flags.
pub(crate) fn assert_used_by(redis: &RedisServer, database: u8, address: &str, flags: &[&str]) {
    let http = HttpServer::start(&[&["-redis", address], flags].concat());
    assert_eq!(http.get("/token").status, 200, "{address}");
    assert_eq!(http.get("/leaky").status, 200, "{address}");
    let mut connection = redis.connect();
    connection.value(&format!("SELECT {database}"));
    let count: i64 = connection.line(&format!("EXISTS {KEY}"));
    assert_eq!(count, 1, "{address}");
    assert_nothing_refused(&mut connection);
    connection.value("FLUSHALL");
}

#[test]
fn every_form_of_the_address_of_one_server_works() {
    let redis = RedisServer::start_on_tcp(&[]);
    let (port, socket) = (redis.port(), redis.socket());
    let socket = socket.display();
    add_user(&mut redis.connect(), &[]);
    for address in [
        format!("127.0.0.1:{port}"),
        format!("{USER}@127.0.0.1:{port}"),
        format!("redis://{USER}@localhost:{port}"),
        format!("valkey://:any@127.0.0.1:{port}"),
        format!("unix:{socket}"),
        format!("unix://{socket}?user=rl-server&pass=a-password"),
    ] {
        assert_used(&redis, 0, &address);
    }
    add_user(&mut redis.connect(), &["+select"]);
    assert_used(&redis, 3, &format!("redis://{USER}@127.0.0.1:{port}/3"));
    assert_used(
        &redis,
        5,
        &format!("unix:{socket}?user=rl-server&pass=a-password&db=5"),
    );
}

/// Waits for an answer with this error.
fn assert_refused(address: &str, error: &str) {
    assert_refused_by(address, &[], error);
}

/// Like `assert_refused`, with more flags.
pub(crate) fn assert_refused_by(address: &str, flags: &[&str], error: &str) {
    let http = HttpServer::start_alone(&[&["-redis", address], flags].concat());
    eventually(error, || {
        http.get("/token").body.contains(error).then_some(())
    });
}

#[test]
fn a_wrong_password_or_a_missing_right_is_reported() {
    let redis = RedisServer::start_on_tcp(&[]);
    let port = redis.port();
    add_user(&mut redis.connect(), &[]);
    assert_refused(
        &format!("redis://rl-server:wrong@127.0.0.1:{port}"),
        "WRONGPASS",
    );
    redis.connect().value("ACL SETUSER rl-server -rl.token");
    assert_refused(
        &format!("redis://{USER}@127.0.0.1:{port}"),
        "Redis refused the call: NOPERM",
    );
}

/// A server with a TLS port beside the one without TLS, or `None` if it was built without TLS.
fn start_with_tls(certificate: &Certificate, args: &[&str]) -> Option<(RedisServer, Port)> {
    // Without a certificate no server starts. Only one that was built with TLS names TLS as the reason.
    let tried = Command::new(program())
        .args(["--port", "0", "--tls-port", "1"])
        .output()
        .expect("it runs");
    let output = [tried.stdout, tried.stderr].concat();
    if !String::from_utf8_lossy(&output).contains("Failed to configure TLS") {
        println!("skipped: this server was built without TLS");
        return None;
    }
    let port = Port::free();
    let number = port.number().to_string();
    let tls = certificate.args();
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let redis = RedisServer::start_on_tcp(&[&["--tls-port", &number], &tls[..], args].concat());
    Some((redis, port))
}

#[test]
fn tls_accepts_only_certificates_of_the_given_authority() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let Some((redis, port)) = start_with_tls(&certificate, &[]) else {
        return;
    };
    add_user(&mut redis.connect(), &[]);
    let port = port.number();
    for address in [
        format!("rediss://{USER}@localhost:{port}"),
        format!("valkeys://127.0.0.1:{port}"),
    ] {
        let http = HttpServer::start(&["-redis", &address, "-redis-ca", &certificate.authority()]);
        assert_eq!(http.get("/token").status, 200, "{address}");
    }
    let address = format!("rediss://localhost:{port}");
    for authority in ["", &other.authority()] {
        let flags = ["-redis", &address, "-redis-ca", authority];
        let http = HttpServer::start_alone(&flags);
        http.wait_for_log("invalid peer certificate");
        assert_eq!(
            http.get("/token").status,
            503,
            "no trusted authority signed the certificate"
        );
    }
}

#[test]
fn a_certificate_for_another_host_is_rejected() {
    let certificate = Certificate::new();
    let both = ["--bind", "127.0.0.1", "127.0.0.2"];
    let Some((_redis, port)) = start_with_tls(&certificate, &both) else {
        return;
    };
    let address = format!("rediss://127.0.0.2:{}", port.number());
    let flags = ["-redis", &address, "-redis-ca", &certificate.authority()];
    let http = HttpServer::start_alone(&flags);
    http.wait_for_log("not valid for name");
    assert_eq!(http.get("/token").status, 503);
}

#[test]
fn with_documented_rights_any_node_gives_the_whole_cluster() {
    let cluster = Cluster::start(NEVER_MS);
    for node in cluster.nodes() {
        add_user(&mut node.connect(), &["+cluster|slots", "+asking"]);
    }
    let closed = Port::free();
    for node in cluster.nodes() {
        let address = format!(
            "redis-cluster://{USER}@127.0.0.1:{},localhost:{}",
            closed.number(),
            node.port()
        );
        let http = HttpServer::start(&["-redis", &address]);
        // Enough callers that each primary has keys of some.
        let answers = Load::on(&http, "/leaky", &callers(20), |load| {
            load.wait_for(By::Redis, 200);
        });
        assert!(answers.iter().all(|answer| answer.by == By::Redis));
    }
    for node in cluster.nodes() {
        assert_nothing_refused(&mut node.connect());
    }
    for shard in 0..3 {
        let keys: i64 = cluster.at_rest(shard)[0].connect().line("DBSIZE");
        assert!(keys > 0, "no key in shard {shard}");
    }
}

#[test]
fn a_cluster_works_over_tls() {
    let certificate = Certificate::new();
    let args = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let Some((redis, port)) = start_with_tls(&certificate, &args) else {
        return;
    };
    let mut connection = redis.connect();
    connection.add_slots();
    eventually("the cluster to be up", || {
        let info: String = connection.line("CLUSTER INFO");
        info.contains("cluster_state:ok").then_some(())
    });
    let address = format!("rediss-cluster://localhost:{}", port.number());
    let flags = ["-redis", &address, "-redis-ca", &certificate.authority()];
    let http = HttpServer::start(&flags);
    assert_eq!(http.get("/token").status, 200);
}

#[test]
fn sentinels_give_the_address_of_their_primary() {
    let sentinels = Sentinels::start();
    let (primary, replicas) = sentinels.at_rest();
    for server in [primary, replicas[0], replicas[1]] {
        add_user(&mut server.connect(), &["+select"]);
    }
    let [a, b, c] = sentinels.ports();
    let closed = Port::free();
    let closed = closed.number();
    let hosts = format!("127.0.0.1:{closed},127.0.0.1:{a},127.0.0.1:{b},localhost:{c}");
    assert_used(primary, 0, &format!("redis-sentinel://{hosts}/rl"));
    assert_used(primary, 2, &format!("redis-sentinel://{USER}@{hosts}/rl/2"));
    let unknown = format!("redis-sentinel://{hosts}/unknown");
    let http = HttpServer::start_alone(&["-redis", &unknown]);
    http.wait_for_log("the Sentinel does not monitor a primary named unknown");
    assert_eq!(http.get("/token").status, 503);
    // rl-server logs in to a Sentinel that requires it with the login of the servers.
    sentinels.let_in_only(a, "rl-server", "a-password");
    assert_used(
        primary,
        0,
        &format!("redis-sentinel://{USER}@127.0.0.1:{a}/rl"),
    );
    let file = PasswordFile::new("a-password\n");
    let address = format!("redis-sentinel://rl-server@127.0.0.1:{a}/rl");
    assert_used_by(primary, 0, &address, &file.flags());
}

#[test]
fn a_wrong_address_is_an_error_at_the_start() {
    for (address, error) in [
        ("redis-cluster://a,b/1", "a cluster has no databases"),
        ("redis-sentinel://a,b", "the name of the primary is missing"),
        ("http://a", "expected host:port"),
    ] {
        let output = Command::new(&artifacts().server)
            .args(["-redis", address])
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(text.contains(error), "{address}: {text}");
    }
}
