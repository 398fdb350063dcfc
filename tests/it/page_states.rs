//! What the page shows first, in its demonstration, in a dry run, without Redis, and under overload.

use std::io::Write;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use rl_tests::{PoliciesFile, eventually};

use crate::page::Visit;

const DENIED_AFTER_20: [&str; 3] = ["-rate", "1/1000d", "-burst=20"];

#[test]
fn before_the_first_request_no_results_are_shown() {
    let Some(mut visit) = Visit::start(&DENIED_AFTER_20) else {
        return;
    };
    let (results, level) = ("#token .results", "#token .level");
    for selector in [results, level] {
        assert_eq!(visit.browser.text_of(selector), "", "{selector}");
    }
    assert!(visit.browser.text_of("#show").starts_with("Show me"));
    visit.browser.click("#one");
    visit.wait_for("#token output", "19.0");
    visit.wait_for(level, "of 20 remaining");
    for row in ["level", "sent", "delay", "proceed"] {
        visit.wait_for("#token .rows", row);
    }
    visit.browser.click("#clear");
    for selector in [results, level] {
        assert_eq!(visit.browser.text_of(selector), "", "{selector}");
    }
    visit.end();
}

#[test]
fn the_demonstration_is_a_burst_and_then_a_stream() {
    let Some(mut visit) = Visit::start(&DENIED_AFTER_20) else {
        return;
    };
    let result = |step: &str| format!("[data-step={step}] .result");
    visit.browser.click("#show");
    visit.wait_for("#show", "Stop");
    visit.wait_for(
        &result("burst"),
        "Token bucket: 20 allowed, 5 denied; what is allowed proceeds at once.\n\
         Leaky bucket: 20 allowed, 5 denied; the last proceeds after ",
    );
    visit.wait_for("[aria-current=step] h2", "Pause");
    visit.wait_for(&result("pause"), "Token bucket: 0 of 20 remaining.");
    visit.wait_for("[aria-current=step] h2", "Stream");
    visit.wait_for("#stream", "Stop");
    visit.wait_for(
        &result("stream"),
        " denied; 0.0 a second allowed at the end.",
    );
    visit.wait_for("#show", "Show me");
    assert!(visit.browser.text_of("#stream").starts_with("Stream"));
    // Five requests a second for five seconds.
    let denied = visit.number("#token [data-count=denied]") - 5.0;
    assert!((15.0..=26.0).contains(&denied), "{denied}");
    visit.end();
}

#[test]
fn the_demonstration_can_be_stopped_and_started_again() {
    let Some(mut visit) = Visit::start(&DENIED_AFTER_20) else {
        return;
    };
    visit.browser.press("#one", "m");
    visit.wait_for("#stream", "Stop");
    visit.browser.press("#one", "m");
    visit.wait_for("#stream", "Stream");
    visit.wait_for("#show", "Show me");
    assert_eq!(visit.browser.text_of("[data-step=stream] .result"), "");
    visit.browser.click("#show");
    visit.wait_for("[data-step=burst] .result", "Token bucket: 25 denied.");
    visit.browser.click("#show");
    visit.wait_for("#show", "Show me");
    visit.end();
}

#[test]
fn the_demonstration_denies_some_requests_of_any_policy() {
    for (rate, burst, sizes) in [
        ("1/m", "5", ["7", "5"]),
        ("20", "100", ["125", "60"]),
        ("1000/100ms", "100000", ["200", "100"]),
    ] {
        let Some(mut visit) = Visit::start(&["-rate", rate, "-burst", burst]) else {
            return;
        };
        for (id, size) in ["#burst-text", "#stream-text"].iter().zip(sizes) {
            assert_eq!(visit.browser.text_of(id), size, "{rate} {burst}");
        }
        visit.end();
    }
}

#[test]
fn a_dry_run_shows_what_it_would_deny() {
    let file = PoliciesFile::new(
        "[search]\nlimits = [{ rate = \"1/1000d\", burst = 4 }]\ndry_run = true\n",
    );
    let Some(mut visit) = Visit::start(&["-policies", file.path()]) else {
        return;
    };
    visit.select_policy("search");
    visit.browser.click("#burst");
    for bucket in ["token", "leaky"] {
        visit.wait_for(&format!("#{bucket} [data-count=would_deny]"), "21");
        visit.wait_for(&format!("#{bucket} [data-count=allowed]"), "4");
        visit.wait_for(&format!("#{bucket} .dry-run"), "Dry run: ");
        visit.wait_for(&format!("#{bucket} .rows"), "would be denied");
    }
    visit.wait_for("#summary", "4 allowed, 0 denied, 21 would be denied, 0");
    visit.browser.click("#policy [value='']");
    visit.browser.click("#one");
    visit.wait_for("#token .level", "of 20 remaining");
    assert_eq!(visit.browser.text_of("#token .dry-run"), "");
    let would_deny = "#token [data-count=would_deny]";
    assert_eq!(visit.browser.text_of(would_deny), "");
    visit.end();
}

#[test]
fn without_redis_the_page_says_who_decides() {
    for (mode, words) in [
        ("allow", "so rl-server allows every request."),
        ("local", "so rl-server decides by a bucket of its own."),
    ] {
        let Some(mut visit) = Visit::start(&["-on-outage", mode]) else {
            return;
        };
        let error = "#token .error";
        visit.redis.kill();
        eventually("an answer without Redis", || {
            visit.browser.click("#one");
            let shown = visit.browser.text_of(error);
            (shown == format!("Degraded: Redis does not decide, {words}")).then_some(())
        });
        assert!(visit.number("#token [data-count=degraded]") >= 1.0);
        let level = visit.browser.text_of("#token .level");
        assert_eq!(level.contains("unknown"), mode == "allow", "{level}");
        visit.redis.restart();
        eventually("an answer of Redis", || {
            visit.browser.click("#one");
            visit.browser.text_of(error).is_empty().then_some(())
        });
        visit.end();
    }
}

/// One caller may wait for 256 answers.
#[test]
fn an_overloaded_server_is_shown_as_such() {
    let Some(mut visit) = Visit::start(&["-deadline", "60s"]) else {
        return;
    };
    visit.redis.signal(Signal::SIGSTOP);
    let waiting: Vec<TcpStream> = (0..300).map(|_| ask(visit.http.connect())).collect();
    visit.browser.click("#target [value=leaky]");
    eventually("the overload", || {
        visit.browser.click("#one");
        let shown = visit.browser.text_of("#leaky .error");
        let text = "Overloaded (503): too many requests of this caller wait for Redis.";
        (shown == text).then_some(())
    });
    visit.redis.signal(Signal::SIGCONT);
    drop(waiting);
    eventually("its end", || {
        visit.browser.click("#one");
        let is_over = visit.browser.text_of("#leaky .error").is_empty();
        is_over.then_some(())
    });
    visit.end();
}

/// Sends a request, and leaves the answer unread.
fn ask(mut stream: TcpStream) -> TcpStream {
    let request = b"GET /leaky HTTP/1.1\r\nHost: test\r\n\r\n";
    stream.write_all(request).expect("rl-server reads");
    stream
}
