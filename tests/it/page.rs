//! The page at /: how it is served, its form, answers and keys. It defines what the other suites of the page use too.

use std::process::Command;

use nix::sys::signal::Signal;
use rl_tests::{
    Browser, HttpServer, PoliciesFile, RedisServer, Screen, eventually, get_with, send,
};

pub(crate) const WIDE: Screen = Screen {
    width: 1200,
    height: 615,
    scale: 1,
    is_phone: false,
    is_dark: false,
    is_still: false,
};

/// A Redis, an rl-server, and its page in a browser.
pub(crate) struct Visit {
    pub(crate) browser: Browser,
    pub(crate) http: HttpServer,
    pub(crate) redis: RedisServer,
}

impl Visit {
    /// `None` without a browser.
    pub(crate) fn start(flags: &[&str]) -> Option<Self> {
        let mut browser = Browser::start()?;
        let redis = RedisServer::start_on_tcp(&[]);
        let address = format!("127.0.0.1:{}", redis.port());
        let http = HttpServer::start(&[&["-redis", &address], flags].concat());
        browser.show_on(WIDE);
        let mut visit = Self {
            browser,
            http,
            redis,
        };
        visit.open();
        Some(visit)
    }

    /// Loads the page, anew if it is shown already.
    pub(crate) fn open(&mut self) {
        let url = format!("http://127.0.0.1:{}/", self.http.port());
        self.browser.open(&url);
    }

    /// Selects a named policy.
    pub(crate) fn select_policy(&mut self, name: &str) {
        self.browser.click(&format!("#policy [value={name}]"));
    }

    /// Waits until the text of the element contains `words`.
    pub(crate) fn wait_for(&mut self, selector: &str, words: &str) {
        let mut shown = String::new();
        let is_shown = || {
            shown = self.browser.text_of(selector);
            shown.contains(words).then_some(())
        };
        eventually(&format!("{words} in {selector}"), is_shown);
    }

    /// Starts a stream unless one runs. The page ends each after a minute.
    pub(crate) fn keep_streaming(&mut self) {
        if !self.browser.text_of("#stream").starts_with("Stop") {
            self.browser.click("#stream");
        }
    }

    pub(crate) fn rate_of_allowed(&mut self, bucket: &str) -> f64 {
        self.number(&format!("#{bucket} [data-rate=allowed]"))
    }

    /// A number of a bucket: 0 as long as it is hidden, before the first response.
    pub(crate) fn number(&mut self, selector: &str) -> f64 {
        match self.browser.text_of(selector).trim_end_matches("/s") {
            "" => 0.0,
            shown => shown.parse().expect("a number"),
        }
    }

    /// Checks that the page sent requests to its own server only, and that the browser logged no error.
    pub(crate) fn end(mut self) {
        let errors = self.browser.complaints();
        let errors: Vec<&String> = errors
            .iter()
            // Answers with 429 and 503 are expected.
            .filter(|line| !line.contains("Failed to load resource"))
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
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
fn the_last_answer_is_shown_with_a_curl_line_that_repeats_it() {
    let flags = ["-rate", "1/1000d", "-burst", "1", "-trust-caller"];
    let Some(mut visit) = Visit::start(&flags) else {
        return;
    };
    visit.browser.fill_in("[name=key]", "o'brien & co");
    visit.browser.click("#one");
    visit.wait_for("#leaky .response", "200 OK");
    visit.wait_for(
        "#leaky .response",
        "ratelimit-policy: \"leaky\";q=1;w=86400000",
    );
    visit.wait_for("#leaky .response", "{\"allowed\":true,\"ip\":\"127.0.0.1\"");
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
fn shortcuts_work_outside_of_text_fields() {
    let flags = ["-rate", "1/1000d", "-trust-caller"];
    let Some(mut visit) = Visit::start(&flags) else {
        return;
    };
    let allowed = "#token [data-count=allowed]";
    visit.browser.press("[name=key]", "rrr");
    visit.browser.fill_in("#burst-size", "3");
    visit.browser.press("#clear", "rb");
    visit.wait_for(allowed, "4");
    visit.browser.click("#shortcuts");
    visit.browser.press("#clear", "rb");
    visit.browser.click("#one");
    visit.wait_for(allowed, "5");
    visit.browser.press("#clear", "s");
    assert!(visit.browser.text_of("#stream").starts_with("Stream"));
    visit.end();
}

#[test]
fn only_with_trust_caller_the_page_offers_a_policy() {
    let Some(mut visit) = Visit::start(&["-rate", "600/m"]) else {
        return;
    };
    assert_eq!(visit.browser.text_of("#parameters"), "");
    visit.wait_for("header", "a rate of 10/s and a burst of 20");
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
    visit.wait_for("#token .error", "Not decided (400): ");
    visit.wait_for("#token output", "4.0");
    visit.end();
}

#[test]
fn named_policies_are_offered_as_they_are_in_force() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    assert_eq!(visit.browser.text_of("#policies"), "");
    visit.end();

    let file = PoliciesFile::new(
        "[search]\nlimits = [{ rate = \"2/s\", burst = 4 }]\ndry_run = true\n\
         [api]\nlimits = [{ name = \"second\", rate = \"1/1000d\", burst = 20 }, \
         { name = \"hour\", rate = \"1000/h\", burst = 1000 }]\n",
    );
    // Each thread keeps a page of its own: with one, the page that is loaded again comes from where the first one did.
    let flags = ["-policies", file.path(), "-threads", "1"];
    let Some(mut visit) = Visit::start(&flags) else {
        return;
    };
    let options = "default: 10/s, burst 20\n\
                   api: second 1/1000d, burst 20; hour 1000/h, burst 1000\n\
                   search: 2/s, burst 4 (dry run)";
    visit.wait_for("#policy", options);
    visit.select_policy("api");
    visit.wait_for("#token .curl", "/token/api'");
    visit.browser.click("#one");
    visit.wait_for("#token .numbers", "second 19 of 20, hour 999 of 1,000");
    visit.wait_for("#token output", "19.0");
    file.write("[next]\nlimits = [{ rate = \"1/s\", burst = 1 }]\n");
    visit.http.signal(Signal::SIGHUP);
    eventually("the end of the policy api", || {
        visit.browser.click("#one");
        let error = visit.browser.text_of("#leaky .error");
        error
            .starts_with("Not decided (404): no policy has this name")
            .then_some(())
    });
    visit.open();
    visit.wait_for("#policy", "default: 10/s, burst 20\nnext: 1/s, burst 1");
    visit.end();
}

#[test]
fn the_numbers_of_one_policy_are_not_shown_for_another() {
    let file = PoliciesFile::new("[login]\nlimits = [{ rate = \"1/1000d\", burst = 5 }]\n");
    let Some(mut visit) = Visit::start(&["-policies", file.path()]) else {
        return;
    };
    visit.browser.click("#one");
    visit.wait_for("#token [data-count=allowed]", "1");
    visit.select_policy("login");
    assert_eq!(visit.browser.text_of("#token .level"), "");
    visit.browser.click("#burst");
    visit.wait_for("#token [data-count=denied]", "20");
    assert_eq!(visit.number("#token [data-count=allowed]"), 5.0);
    visit.wait_for("#token .level", "of 5 remaining");
    visit.end();
}

fn serve(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url()], flags].concat());
    (redis, http)
}

#[test]
fn only_clients_that_accept_html_get_the_page() {
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
    let rules = answer.header("content-security-policy").expect("a policy");
    assert!(rules.starts_with("default-src 'none'; ") && !rules.contains("unsafe"));
    for (path, kind) in [
        ("/page.js", "text/javascript"),
        ("/chart.js", "text/javascript"),
        ("/demonstration.js", "text/javascript"),
        ("/page.css", "text/css"),
    ] {
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
fn with_page_false_no_page_is_served() {
    let (_redis, http) = serve(&["-page=false"]);
    for path in [
        "/",
        "/page.js",
        "/chart.js",
        "/demonstration.js",
        "/page.css",
    ] {
        let answer = get_with(&mut http.connect(), path, &["Accept: text/html"]);
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(http.get("/token").status, 200);
}
