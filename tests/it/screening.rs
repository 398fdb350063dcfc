//! The Host header, pages of other origins, and headers of every answer.

use std::io::Read;

use rl_tests::{Answer, HttpServer, get_with, send};

use crate::serving::start;

fn send_head(http: &HttpServer, head: &str) -> Answer {
    send(&mut http.connect(), &format!("{head}\r\n\r\n"))
}

#[test]
fn a_missing_repeated_or_invalid_host_is_a_400() {
    let (_redis, http) = start(&[]);
    let token = "GET /token HTTP/1.1\r\n";
    for (lines, status) in [
        ("", 400),
        ("Host: a\r\nHost: a", 400),
        ("Host: a b", 400),
        ("Host: a:b", 400),
        ("Host: user@a", 400),
        ("Host: http://a/", 400),
        ("Host: ::1", 400),
        ("Host:", 200),
        ("Host: a:80", 200),
        ("Host: [::1]:80", 200),
        ("host: A.example", 200),
    ] {
        let answer = send_head(&http, format!("{token}{lines}").trim_end());
        assert_eq!(answer.status, status, "{lines}: {answer:?}");
        let has_reason = answer.body.starts_with(r#"{"error":""#) && answer.body.contains("Host");
        assert_eq!(has_reason, status == 400, "{lines}: {answer:?}");
    }
    for (lines, status) in [("", 200), ("Host: a", 200), ("Host: a\r\nHost: b", 400)] {
        let answer = send_head(&http, format!("GET /token HTTP/1.0\r\n{lines}").trim_end());
        assert_eq!(answer.status, status, "HTTP/1.0 {lines}: {answer:?}");
    }
    let accept = "Accept: application/problem+json";
    let problem = send_head(&http, &format!("{token}{accept}"));
    assert_eq!(problem.status, 400);
    let media_type = problem.header("content-type");
    assert_eq!(media_type, Some("application/problem+json"));
    assert!(problem.body.contains(r#""instance":"/token""#));
}

#[test]
fn a_request_without_a_host_spends_nothing() {
    let (redis, http) = start(&[]);
    assert_eq!(send_head(&http, "GET /token HTTP/1.1").status, 400);
    assert_eq!(redis.connect().line::<u64>("DBSIZE"), 0);
}

#[test]
fn with_trust_caller_pages_of_other_origins_are_refused() {
    let (redis, http) = start(&["-trust-caller", "-cors-origins", "https://app.example"]);
    let get = |lines: &[&str]| get_with(&mut http.connect(), "/token?key=k", lines);
    let allowed = "Origin: https://app.example";
    for site in ["cross-site", "same-site"] {
        let site = format!("Sec-Fetch-Site: {site}");
        for lines in [
            &[site.as_str()][..],
            &[&site, "Origin: https://evil.example"],
        ] {
            let answer = get(lines);
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.body.contains("-cors-origins"), "{answer:?}");
        }
        assert_eq!(
            redis.connect().line::<u64>("DBSIZE"),
            0,
            "a refused request spent a token"
        );
    }
    let answer = get(&["Sec-Fetch-Site: cross-site", allowed]);
    assert_eq!(answer.status, 200);
    let may_read = answer.header("access-control-allow-origin");
    assert_eq!(may_read, Some("https://app.example"));
    for own in ["same-origin", "none"] {
        let site = format!("Sec-Fetch-Site: {own}");
        assert_eq!(get(&[&site]).status, 200, "{own}");
    }
    assert_eq!(get(&[]).status, 200, "a program");
}

/// Their requests use the bucket of the user's address, and a page may be written to send them.
#[test]
fn without_trust_caller_pages_of_other_origins_are_served() {
    let (_redis, http) = start(&[]);
    let line = ["Sec-Fetch-Site: cross-site"];
    assert_eq!(get_with(&mut http.connect(), "/token", &line).status, 200);
}

#[test]
fn every_answer_has_nosniff() {
    let (redis, http) = start(&["-cors-origins", "*"]);
    let check = |head: &str| {
        let mut stream = http.connect();
        let answer = send(&mut stream, &format!("{head}\r\n\r\n"));
        let nosniff = answer.header("x-content-type-options");
        assert_eq!(nosniff, Some("nosniff"), "{head}: {answer:?}");
        answer.status
    };
    let paths = [
        "/",
        "/token",
        "/leaky",
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/page.js",
        "/none",
        "/token?cost=9",
    ];
    for path in paths {
        for method in ["GET", "OPTIONS", "POST"] {
            let host = "Host: a\r\nContent-Length: 0\r\nConnection: close";
            check(&format!("{method} {path} HTTP/1.1\r\n{host}"));
        }
    }
    assert_eq!(check("GET /token HTTP/1.1"), 400);
    redis.kill();
    rl_tests::eventually("the outage", || {
        (check("GET /token HTTP/1.1\r\nHost: a") == 503).then_some(())
    });
}

/// The frames are written by hand, since curl always sends an authority.
#[test]
fn http_2_without_an_authority_is_a_400() {
    let (_redis, http) = start(&["-idle-timeout", "500ms"]);
    let (get, scheme, path) = (0x82, 0x86, *b"\x04\x06/token");
    let block = [&[get, scheme][..], &path].concat();
    let client = rl_tests::Http2::with_window(65_535).head(&block);
    let mut stream = http.connect();
    std::io::Write::write_all(&mut stream, client.bytes()).expect("sent");
    let mut frames = Vec::new();
    stream.read_to_end(&mut frames).expect("frames");
    let frames = String::from_utf8_lossy(&frames);
    assert!(frames.contains("no Host header"), "{frames}");
}
