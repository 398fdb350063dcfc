//! How much memory rl-server allocates for a request, counted in this process.

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use rl_server::{
    Config, Limiter, Metrics, Policies, Shutdown, Threads, listen, routers, serve, site,
};
use rl_tests::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};

/// The requests of one measurement.
const REQUESTS: u64 = 1000;

/// The most allocations for a request, and the most bytes of them: what was measured and 5 % more, because a busy machine
/// checks the connection to Redis more often. Lower them when a change allocates less.
const MAX_ALLOCATIONS: u64 = 20;
const MAX_BYTES: u64 = 10_600;

/// Sends requests, one after the other, without allocating itself.
async fn exchange(stream: &mut TcpStream, requests: u64) {
    let mut response = [0; 4096];
    for _ in 0..requests {
        let request = b"GET /token HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let length = stream.read(&mut response).await.expect("a response");
        assert!(response[..length].starts_with(b"HTTP/1.1 200 "));
        assert!(response[..length].ends_with(b"}"));
    }
}

/// What serving the requests allocates on the thread that serves them. The thread of the connection to Redis is another
/// one here, and it allocates nothing for a call.
fn allocated(flags: &[&str]) -> AllocationInfo {
    let words = [&["rl-server", "-addr", "127.0.0.1:0"], flags].concat();
    let config = Config::from_words(words).expect("valid flags");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let shutdown = Shutdown::on_signal(&config.serving).expect("signals");
    let listener = listen(&config.serving.addr, "-addr").expect("a port");
    let address = listener.to_string();
    let metrics = Metrics::new(config.policy.policy(), config.answers.deny_status);
    let metrics = Arc::new(metrics);
    let policies = Policies::new(&config.policy, &config.caller, &metrics);
    let threads = Threads::start(1).expect("a thread");
    let limiters = Limiter::start(&config.redis, &metrics, &threads).expect("a limiter");
    let routes = routers(&config, &policies, &limiters, &metrics, &shutdown).remove(0);
    let sites = vec![(Handle::current(), site(routes))];
    let mut serving = Box::pin(serve(listener, sites, &config.serving, &metrics, &shutdown));
    let mut client = runtime.block_on(async {
        let connected = async {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            exchange(&mut stream, 100).await;
            stream
        };
        tokio::select! {
            stream = connected => stream,
            () = serving.as_mut() => unreachable!("no signal was sent"),
        }
    });
    measure(|| {
        runtime.block_on(async {
            tokio::select! {
                () = exchange(&mut client, REQUESTS) => {}
                () = serving.as_mut() => unreachable!("no signal was sent"),
            }
        });
    })
}

#[test]
fn a_request_allocates_no_more_than_is_recorded() {
    let redis = RedisServer::start();
    let redis = redis.url();
    let allocated = allocated(&["-redis", &redis, "-rate", "1000000", "-burst", "1000000"]);
    let (count, bytes) = (
        allocated.count_total / REQUESTS,
        allocated.bytes_total / REQUESTS,
    );
    println!("GET /token: {count} allocations, {bytes} bytes");
    assert!(
        count <= MAX_ALLOCATIONS && bytes <= MAX_BYTES,
        "{count}, {bytes}"
    );
}
