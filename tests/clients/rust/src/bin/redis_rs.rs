//! Limits by redis-rs. Usage: `redis_rs PORTS KEY...`; PORTS is 6379, or 7001,7002,7003 for a cluster.

use std::thread::sleep;
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::{ConnectionLike, ErrorKind, RedisResult, ServerErrorKind, cmd};

/// The reply. That of RL.TOKEN has no delay, which is 0.
struct Decision {
    allowed: u64,
    _limit: u64,
    remaining: u64,
    retry_after_ms: u64,
    _reset_after_ms: u64,
    delay_ms: u64,
}

fn connect(ports: &[String], deadline: Duration) -> RedisResult<Box<dyn ConnectionLike>> {
    let url = |port| format!("redis://127.0.0.1:{port}");
    if let [port] = ports {
        let client = redis::Client::open(url(port))?;
        let connection = client.get_connection_with_timeout(deadline)?;
        connection.set_read_timeout(Some(deadline))?;
        return Ok(Box::new(connection));
    }
    // A call that timed out may have taken its tokens, and a retry takes them again.
    let cluster = ClusterClient::builder(ports.iter().map(url)).retries(0);
    let cluster = cluster
        .connection_timeout(deadline)
        .response_timeout(deadline);
    Ok(Box::new(cluster.build()?.get_connection()?))
}

struct Limiter {
    ports: Vec<String>,
    deadline: Duration,
    connection: Option<Box<dyn ConnectionLike>>,
}

impl Limiter {
    fn decide(&mut self, command: &str, key: &str) -> RedisResult<Decision> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(connect(&self.ports, self.deadline)?),
        };
        let mut call = cmd(command);
        let reply = call
            .arg(key)
            .arg("10/s")
            .arg(20)
            .query::<Vec<i64>>(connection.as_mut())?;
        let at = |index| {
            reply
                .get(index)
                .map_or(0, |number: &i64| number.unsigned_abs())
        };
        Ok(Decision {
            allowed: at(0),
            _limit: at(1),
            remaining: at(2),
            retry_after_ms: at(3),
            _reset_after_ms: at(4),
            delay_ms: at(5),
        })
    }

    /// `None` if Redis is away: the caller then lets the work pass, or refuses it.
    fn wait_for_turn(&mut self, command: &str, key: &str) -> Option<Decision> {
        loop {
            match self.decide(command, key) {
                Ok(decision) if decision.allowed > 0 => {
                    sleep(Duration::from_millis(decision.delay_ms));
                    return Some(decision);
                }
                Ok(decision) => sleep(Duration::from_millis(decision.retry_after_ms)),
                Err(error) => {
                    // The next call connects again, and asks a cluster for its slots again.
                    self.connection = None;
                    match error.kind() {
                        ErrorKind::Server(ServerErrorKind::Moved) => {}
                        ErrorKind::Server(_) => panic!("{error}"),
                        _ => return None,
                    }
                }
            }
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let ports = arguments
        .next()
        .expect("ports")
        .split(',')
        .map(str::to_owned)
        .collect();
    let deadline = std::env::var("DEADLINE_MS").map_or(100, |ms| ms.parse().expect("a number"));
    let deadline = Duration::from_millis(deadline);
    let mut limiter = Limiter {
        ports,
        deadline,
        connection: None,
    };
    let keys: Vec<String> = arguments.collect();
    for command in ["RL.TOKEN", "RL.LEAKY"] {
        for key in &keys {
            match limiter.wait_for_turn(command, &format!("{command}:{key}")) {
                Some(decision) => println!("{command} {key} remaining {}", decision.remaining),
                None => println!("{command} {key} Redis is away"),
            }
        }
    }
}
