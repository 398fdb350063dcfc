use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rl_tests::{Browser, HttpServer, RedisServer, Screen, artifacts, eventually, get_with, send};

const WIDE: Screen = Screen {
    width: 1200,
    height: 615,
    scale: 1,
    is_phone: false,
    is_dark: false,
    is_still: false,
};

/// A Redis, an rl-server, and its page in a browser.
struct Visit {
    browser: Browser,
    http: HttpServer,
    redis: RedisServer,
}

impl Visit {
    /// `None` where there is no browser to test with.
    fn start(flags: &[&str]) -> Option<Self> {
        let mut browser = Browser::start()?;
        let redis = RedisServer::start_on_tcp(&[]);
        let address = format!("127.0.0.1:{}", redis.port());
        let http = HttpServer::start(&[&["-redis", &address], flags].concat());
        browser.show_on(WIDE);
        browser.open(&format!("http://127.0.0.1:{}/", http.port()));
        Some(Self {
            browser,
            http,
            redis,
        })
    }

    /// Waits until what is shown there is this.
    fn wait_for(&mut self, selector: &str, words: &str) {
        let mut shown = String::new();
        let is_shown = || {
            shown = self.browser.text_of(selector);
            shown.contains(words).then_some(())
        };
        eventually(&format!("{words} in {selector}"), is_shown);
    }

    /// Keeps a stream going, which ends by itself after a minute.
    fn stream(&mut self) {
        if !self.browser.text_of("#stream").starts_with("Stop") {
            self.browser.click("#stream");
        }
    }

    fn rate_of_allowed(&mut self, bucket: &str) -> f64 {
        self.number(&format!("#{bucket} [data-rate=allowed]"))
    }

    fn number(&mut self, selector: &str) -> f64 {
        let shown = self.browser.text_of(selector);
        shown.trim_end_matches("/s").parse().expect("a number")
    }

    /// The page has asked nobody but its server, and broken none of its rules.
    fn end(mut self) {
        let wrong = self.browser.complaints();
        let wrong: Vec<&String> = wrong
            .iter()
            // That answers are 429 and 503 is what the page is for.
            .filter(|line| !line.contains("Failed to load resource"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let ours = format!("http://127.0.0.1:{}/", self.http.port());
        let requests = self.browser.requests();
        let urls: Vec<&str> = requests
            .iter()
            .filter(|request| request.page == ours)
            .map(|request| request.url.as_str())
            .collect();
        assert!(urls.iter().any(|url| url.ends_with("/page.js")), "{urls:?}");
        for url in urls {
            assert!(url.starts_with(&ours) || url.starts_with("data:"), "{url}");
        }
    }
}

#[test]
fn a_burst_of_25_at_burst_20_shows_20_allowed_and_5_denied() {
    let Some(mut visit) = Visit::start(&["-rate", "1/1000d", "-burst", "20"]) else {
        return;
    };
    visit.browser.click("#burst");
    for (bucket, held) in [("token", "0.0"), ("leaky", "20.0")] {
        visit.wait_for(&format!("#{bucket} [data-count=allowed]"), "20");
        visit.wait_for(&format!("#{bucket} [data-count=denied]"), "5");
        visit.wait_for(&format!("#{bucket} output"), held);
        for (kind, count) in [("allowed", "20"), ("denied", "5"), ("failed", "0")] {
            let shown = visit
                .browser
                .text_of(&format!("#{bucket} [data-count={kind}]"));
            assert_eq!(shown, count, "{kind} by {bucket}");
        }
    }
    visit.wait_for(
        "#summary",
        "Token bucket: 20 allowed, 5 denied, 0 not decided; 0 of 20 tokens left.",
    );
    visit.end();
}

#[test]
fn the_last_answer_is_shown_whole_and_its_curl_line_asks_the_same() {
    let flags = ["-rate", "1/1000d", "-burst", "1", "-trust-caller"];
    let Some(mut visit) = Visit::start(&flags) else {
        return;
    };
    visit.browser.fill_in("[name=key]", "o'brien & co");
    visit.browser.click("#one");
    visit.wait_for("#leaky .answer", "200 OK");
    visit.wait_for(
        "#leaky .answer",
        "ratelimit-policy: \"leaky\";q=1;w=86400000",
    );
    visit.wait_for("#leaky .answer", "{\"allowed\":true,\"ip\":\"127.0.0.1\"");
    visit.wait_for("#leaky .numbers", "delay_ms\n0");
    let curl = visit.browser.text_of("#leaky .curl");
    let output = Command::new("bash")
        .args(["-c", &format!("{curl} -s")])
        .output();
    let printed = String::from_utf8(output.expect("curl").stdout).expect("UTF-8");
    assert!(printed.starts_with("HTTP/1.1 429"), "{curl}: {printed}");
    visit.end();
}

#[test]
fn a_stream_settles_at_the_rate() {
    let Some(mut visit) = Visit::start(&["-rate", "5", "-burst", "5"]) else {
        return;
    };
    eventually("both to let through 5 a second", || {
        visit.stream();
        let settled = |rate: f64| (4.6..=5.4).contains(&rate);
        (settled(visit.rate_of_allowed("token")) && settled(visit.rate_of_allowed("leaky")))
            .then_some(())
    });
    assert_ne!(visit.browser.text_of("#token [data-count=denied]"), "0");
    visit.end();
}

#[test]
fn an_outage_is_shown_and_so_is_its_end() {
    let Some(mut visit) = Visit::start(&["-deadline", "100ms"]) else {
        return;
    };
    eventually("a level to lose", || {
        visit.stream();
        (visit.browser.text_of("#leaky output") != "?").then_some(())
    });
    visit.redis.kill();
    for bucket in ["token", "leaky"] {
        let trouble = format!("#{bucket} .trouble");
        eventually("the outage", || {
            visit.stream();
            visit
                .browser
                .text_of(&trouble)
                .starts_with("Not decided (503): Redis does not answer")
                .then_some(())
        });
        visit.wait_for(&format!("#{bucket} output"), "?");
        visit.wait_for(&format!("#{bucket} .answer"), "retry-after: 1");
    }
    visit.redis.restart();
    for bucket in ["token", "leaky"] {
        eventually("its end", || {
            visit.stream();
            let is_over = visit
                .browser
                .text_of(&format!("#{bucket} .trouble"))
                .is_empty();
            let is_known = visit.browser.text_of(&format!("#{bucket} output")) != "?";
            (is_over && is_known).then_some(())
        });
    }
    visit.end();
}

/// The last of three is decided at once and answered after two seconds, in which two of three have leaked.
#[test]
fn an_answer_that_waited_for_its_turn_is_shown_as_decided_before() {
    let Some(mut visit) = Visit::start(&["-rate", "1", "-burst", "3", "-shape"]) else {
        return;
    };
    visit.browser.fill_in("#burst-size", "3");
    visit.browser.click("#burst");
    visit.wait_for("#leaky [data-count=allowed]", "3");
    assert!(visit.number("#leaky output") < 2.0);
    visit.end();
}

#[test]
fn a_stream_ends_when_the_page_is_hidden() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.fill_in("#stream-rate", "1");
    visit.browser.click("#stream");
    visit.wait_for("#stream", "Stop");
    visit.browser.hide();
    visit.wait_for("#stream", "Stream");
    let sent = visit.number("#token [data-count=allowed]");
    assert!(sent < 55.0, "it has run for its whole minute");
    visit.end();
}

#[test]
#[ignore = "make test-full"]
fn a_stream_ends_by_itself_after_a_minute() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.fill_in("#stream-rate", "1");
    visit.browser.click("#stream");
    visit.wait_for("#stream", "Stop");
    eventually("its end", || {
        let is_over = visit.browser.text_of("#stream").starts_with("Stream");
        is_over.then_some(())
    });
    let allowed = "#token [data-count=allowed]";
    eventually("its last answer", || {
        (visit.number(allowed) >= 59.0).then_some(())
    });
    assert!(visit.number(allowed) <= 60.0);
    visit.end();
}

#[test]
fn keys_do_what_buttons_do_where_nobody_types() {
    let flags = ["-rate", "1/1000d", "-trust-caller"];
    let Some(mut visit) = Visit::start(&flags) else {
        return;
    };
    let allowed = "#token [data-count=allowed]";
    visit.browser.press("[name=key]", "rrr");
    visit.browser.fill_in("#burst-size", "3");
    visit.browser.press("#clear", "rb");
    visit.wait_for(allowed, "4");
    visit.browser.click("#keys");
    visit.browser.press("#clear", "rb");
    visit.browser.click("#one");
    visit.wait_for(allowed, "5");
    visit.browser.press("#clear", "s");
    assert!(visit.browser.text_of("#stream").starts_with("Stream"));
    visit.end();
}

#[test]
fn only_a_trusted_caller_is_offered_a_policy() {
    let Some(mut visit) = Visit::start(&["-rate", "600/m"]) else {
        return;
    };
    assert_eq!(visit.browser.text_of("#question"), "");
    visit.wait_for("header", "10/s requests, 20 at once");
    visit.end();

    let Some(mut visit) = Visit::start(&["-trust-caller"]) else {
        return;
    };
    for (name, value) in [
        ("rate", "1/1000d"),
        ("burst", "7"),
        ("cost", "3"),
        ("key", "user:42"),
    ] {
        visit.browser.fill_in(&format!("[name={name}]"), value);
    }
    visit.browser.click("#one");
    visit.wait_for("#token .numbers", "limit\n7\nremaining\n4");
    visit.browser.fill_in("[name=rate]", "fast");
    visit.browser.click("#one");
    visit.wait_for("#token .trouble", "Not decided (400): ");
    visit.wait_for("#token output", "4.0");
    visit.end();
}

#[test]
fn whoever_wants_less_motion_is_shown_the_level_once_a_second() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.show_on(Screen {
        is_still: true,
        ..WIDE
    });
    let begun = Instant::now();
    visit.browser.click("#burst");
    let mut shown = BTreeSet::new();
    eventually("a full bucket", || {
        let level = visit.browser.text_of("#token output");
        shown.insert(level.clone());
        (level == "20.0").then_some(())
    });
    // Beside those: what stood there before, and what was drawn at once.
    let most = begun.elapsed().as_secs() + 3;
    assert!(shown.len() as u64 <= most, "{shown:?}");
    visit.end();
}

fn pictures() -> PathBuf {
    let release = artifacts().server.parent().expect("a directory");
    release.with_file_name("page")
}

/// Leaves pictures in target/page; README's is `readme.png`.
#[test]
fn pictures_are_left_in_target_page() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.click("#burst");
    eventually("25 answers", || {
        let allowed = visit.number("#token [data-count=allowed]");
        let denied = visit.number("#token [data-count=denied]");
        (allowed + denied > 24.0).then_some(())
    });
    // What was denied can be had again, so that the stream begins beside the burst.
    eventually("most of the bucket", || {
        (visit.number("#token output") > 15.0).then_some(())
    });
    visit.stream();
    eventually("a stream that has settled", || {
        (visit.number("#token [data-count=denied]") > 65.0).then_some(())
    });
    let whole = Screen {
        height: 1100,
        ..WIDE
    };
    let dark = Screen {
        is_dark: true,
        ..whole
    };
    let phone = Screen {
        width: 390,
        height: 844,
        scale: 2,
        is_phone: true,
        ..WIDE
    };
    for (name, screen) in [
        ("readme", WIDE),
        ("light", whole),
        ("dark", dark),
        ("phone", phone),
    ] {
        visit.browser.show_on(screen);
        let file = pictures().join(format!("{name}.png"));
        visit.browser.picture(&file, name != "readme");
        assert!(std::fs::metadata(&file).is_ok_and(|file| file.len() > 10_000));
    }
    visit.end();
}

fn serve(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url()], flags].concat());
    (redis, http)
}

#[test]
fn only_who_asks_for_html_is_sent_it_and_others_a_list() {
    let (_redis, http) = serve(&["-rate", "5/30s", "-burst", "7"]);
    let mut stream = http.connect();
    for lines in [&[][..], &["Accept: */*"], &["Accept: application/json"]] {
        let answer = get_with(&mut stream, "/", lines);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(answer.body.contains("GET /token ") && answer.body.contains("GET /leaky "));
        assert!(answer.body.contains("10/m, 7 at once"), "{}", answer.body);
        assert_eq!(answer.header("vary"), Some("accept"));
    }
    let browsers = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = get_with(&mut stream, "/", &[browsers]);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        answer
            .body
            .contains("data-rate=\"10/m\" data-burst=\"7\" data-trust-caller=\"false\"")
    );
    let rules = answer
        .header("content-security-policy")
        .expect("a strict one");
    assert!(rules.starts_with("default-src 'none'; ") && !rules.contains("unsafe"));
    for (path, kind) in [("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let answer = get_with(&mut stream, path, &[]);
        assert_eq!(
            answer.header("content-type"),
            Some(format!("{kind}; charset=utf-8").as_str())
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let posted = send(&mut stream, "POST / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(posted.status, 405);
}

#[test]
fn no_page_is_served_where_it_is_switched_off() {
    let (_redis, http) = serve(&["-page=false"]);
    for path in ["/", "/page.js", "/page.css"] {
        let answer = get_with(&mut http.connect(), path, &["Accept: text/html"]);
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(http.get("/token").status, 200);
}
