//! A proxy between rl-server and Redis that sends a surplus reply, so that each later reply answers the call of another
//! caller.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rl_tests::{Answer, Fault, FaultProxy, HttpServer, RedisServer, Stop, eventually, get};

/// Concurrent callers, so that calls are waiting for replies. Without a waiting call the client drops a surplus reply.
const CALLERS: usize = 64;

/// A reply that fits the calls of all callers.
const FITTING: &[u8] = b"*5\r\n:1\r\n:1000\r\n:999\r\n:0\r\n:1\r\n";

/// A reply that fits none, because its limit differs.
const ANOTHER_LIMIT: &[u8] = b"*5\r\n:1\r\n:7\r\n:6\r\n:0\r\n:1\r\n";

/// The path with which a caller reads its bucket. Each caller has taken a different number of tokens.
fn path(caller: usize) -> String {
    format!("/token?key={caller}&rate=1/1000d&burst=1000&cost=0")
}

fn is_of_another(answer: &Answer, caller: usize) -> bool {
    answer.status == 200 && answer.field("remaining") != Some(&(1000 - caller).to_string())
}

/// Sends ten surplus replies. Returns the number of answers that were those of other callers, and of all answers.
fn send_surplus(reply: &'static [u8]) -> (usize, usize) {
    let redis = RedisServer::start_on_tcp(&[]);
    let network = FaultProxy::to(redis.port());
    let http = HttpServer::start(&["-redis", &network.address(), "-trust-caller"]);
    for caller in 1..=CALLERS {
        let cost = path(caller).replace("cost=0", &format!("cost={caller}"));
        assert_eq!(http.get(&cost).status, 200);
    }
    let (stop, all, wrong) = (Stop::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for caller in 1..=CALLERS {
            let (stop, all, wrong, http) = (&stop, &all, &wrong, &http);
            scope.spawn(move || {
                let mut stream = http.connect();
                while !stop.is_set() {
                    let answer = get(&mut stream, &path(caller));
                    all.fetch_add(1, Ordering::Relaxed);
                    let is_wrong = is_of_another(&answer, caller);
                    wrong.fetch_add(is_wrong.into(), Ordering::Relaxed);
                }
            });
        }
        stop.after(|| {
            for _ in 0..10 {
                let connections = network.connections();
                eventually("a new connection", || {
                    // Repeated, since the shift ends by itself once no call is waiting.
                    network.set(Fault::SurplusReply(reply));
                    (network.connections() > connections).then_some(())
                });
                network.set(Fault::None);
                http.wait_for_log("does not match its call");
                http.wait_for_log("connected to Redis");
                let before = all.load(Ordering::Relaxed);
                eventually("more answers", || {
                    (all.load(Ordering::Relaxed) > before + 1000).then_some(())
                });
            }
        });
    });
    (wrong.into_inner(), all.into_inner())
}

#[test]
fn a_surplus_reply_that_fits_no_call_is_detected_at_once() {
    let (wrong, all) = send_surplus(ANOTHER_LIMIT);
    println!("{wrong} of {all} answers after 10 surplus replies were those of other callers");
    // The replies that were read together with the surplus one.
    assert!(wrong <= 10 * CALLERS, "{wrong}");
}

#[test]
fn a_surplus_reply_that_fits_causes_at_most_500_wrong_answers() {
    let (wrong, all) = send_surplus(FITTING);
    println!("{wrong} of {all} answers after 10 surplus replies were those of other callers");
    assert!(wrong <= 10 * 500, "{wrong}");
}
