use std::thread;
use std::time::Instant;

use rl_tests::{
    Answer, HttpServer, Nginx, Port, RedisServer, blocks, connect_from, document, get_with,
};

/// The configuration that server/README.md shows in `language`, with each text in `changes` replaced.
fn documented_config(language: &str, changes: &[(&str, String)]) -> String {
    let shown = blocks(&document("server/README.md"), language).concat();
    changes.iter().fold(shown, |config, (from, to)| {
        assert!(config.contains(from), "{from} in {config}");
        config.replace(from, to)
    })
}

/// The documented nginx, in front of an application that always answers and of an rl-server with these flags.
struct Site {
    port: Port,
    _nginx: Nginx,
    http: HttpServer,
    _redis: RedisServer,
}

impl Site {
    fn start(flags: &[&str]) -> Self {
        Self::start_with_limiter("limiter/token", flags)
    }

    /// Like `start`, with this path of rl-server in place of the documented `limiter/token`.
    fn start_with_limiter(path: &str, flags: &[&str]) -> Self {
        let redis = RedisServer::start();
        let proxied = [
            "-redis",
            &redis.url(),
            "-deny-status",
            "403",
            "-trusted-proxies",
            "127.0.0.1",
        ];
        let http = HttpServer::start(&[&proxied[..], flags].concat());
        let (port, application) = (Port::free(), Port::free());
        let address = |port: u16| format!("127.0.0.1:{port}");
        let config = documented_config(
            "nginx",
            &[
                ("listen 80;", format!("listen {};", address(port.number()))),
                ("127.0.0.1:8080", address(http.port())),
                ("127.0.0.1:3000", address(application.number())),
                ("limiter/token", path.to_owned()),
            ],
        );
        let application_config = format!(
            "server {{ listen {}; return 200 \"the application\"; }}\n",
            address(application.number())
        );
        let nginx = Nginx::start(&(config + &application_config), port.number());
        Self {
            port,
            _nginx: nginx,
            http,
            _redis: redis,
        }
    }

    fn get(&self, client: &str, lines: &[&str]) -> Answer {
        let lines = [&["Connection: close"], lines].concat();
        get_with(
            &mut connect_from(client, self.port.number()),
            "/some/page?of=it",
            &lines,
        )
    }
}

#[test]
fn the_documented_nginx_passes_allowed_requests_or_answers_429() {
    let site = Site::start(&["-rate", "1/1000d", "-burst", "2"]);
    for remaining in [1, 0] {
        let answer = site.get("127.0.0.9", &[]);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "the application")
        );
        let field = answer.header("ratelimit").expect("the field of rl-server");
        assert!(
            field.starts_with(&format!("\"token\";r={remaining};t=")),
            "{field}"
        );
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"token\";q=2;w=172800000")
        );
        assert_eq!(answer.header("retry-after"), None);
    }
    for forged in [
        &[][..],
        &["X-Forwarded-For: 203.0.113.9"],
        &["Forwarded: for=203.0.113.9"],
    ] {
        let denied = site.get("127.0.0.9", forged);
        assert_eq!(
            (denied.status, denied.body.as_str()),
            (429, r#"{"error":"Rate limit exceeded"}"#)
        );
        assert_eq!(denied.header("content-type"), Some("application/json"));
        assert_eq!(denied.header("cache-control"), Some("no-store"));
        let wait_s = denied
            .header("retry-after")
            .expect("a denial has Retry-After");
        assert!(
            wait_s
                .parse::<u64>()
                .is_ok_and(|s| (1..=86_400_000).contains(&s)),
            "{wait_s}"
        );
        assert_eq!(
            denied.header("ratelimit"),
            Some(format!("\"token\";r=0;t={wait_s}").as_str())
        );
    }
    assert_eq!(site.get("127.0.0.10", &[]).status, 200, "another caller");
}

#[test]
fn the_documented_nginx_gives_a_known_key_its_own_policy() {
    let site = Site::start(&["-trust-caller", "-rate", "1/1000d", "-burst", "1"]);
    let key = "X-Api-Key: k-5f3a9c";
    for client in ["127.0.0.9", "127.0.0.10"] {
        let answer = site.get(client, &[key]);
        assert_eq!(
            (answer.status, answer.header("ratelimit-policy")),
            (200, Some("\"token\";q=100;w=10"))
        );
    }
    let unknown = "X-Api-Key: a&key=acme&cost=0";
    assert_eq!(site.get("127.0.0.9", &[unknown]).status, 200);
    assert_eq!(
        site.get("127.0.0.9", &[unknown]).status,
        429,
        "an unknown key shares the bucket of its address"
    );
    assert_eq!(site.get("127.0.0.9", &[key]).status, 200);
}

/// nginx accepts larger heads than rl-server does.
#[test]
fn the_documented_nginx_limits_requests_with_large_heads() {
    let site = Site::start(&["-rate", "1/1000d", "-burst", "3"]);
    let field = |n: usize| format!("X-Field-{n}: {}", "x".repeat(4500));
    let large: Vec<String> = (0..4).map(field).collect();
    let many: Vec<String> = (0..120).map(|n| format!("X-Field-{n}: x")).collect();
    let statuses = [&large, &many, &vec![], &large, &many].map(|head| {
        let lines: Vec<&str> = head.iter().map(String::as_str).collect();
        site.get("127.0.0.9", &lines).status
    });
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[test]
fn the_documented_nginx_answers_500_without_rl_server() {
    let mut site = Site::start(&[]);
    site.http.signal(nix::sys::signal::Signal::SIGKILL);
    site.http.exit_code();
    assert_eq!(site.get("127.0.0.9", &[]).status, 500);
}

/// The nth answer comes at least n emission intervals after the first request, on a slow machine too.
#[test]
fn behind_the_documented_nginx_shaped_requests_are_spaced() {
    let flags = ["-shape", "-rate", "10", "-burst", "6"];
    let site = Site::start_with_limiter("limiter/leaky", &flags);
    let started = Instant::now();
    let mut waits_ms: Vec<u128> = thread::scope(|scope| {
        let request = || {
            assert_eq!(site.get("127.0.0.5", &[]).body, "the application");
            started.elapsed().as_millis()
        };
        let requests = [(); 6].map(|()| scope.spawn(request));
        let waits_ms = requests.map(|request| request.join().expect("an answer"));
        waits_ms.into()
    });
    waits_ms.sort_unstable();
    let mut pairs = waits_ms.iter().zip((0..).step_by(100));
    assert!(
        pairs.all(|(wait_ms, due_ms)| *wait_ms >= due_ms),
        "{waits_ms:?}"
    );
}

/// Each proxy connects from an address of its own, as if it were on its own machine.
#[test]
fn behind_two_proxies_the_client_s_address_counts() {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[
        "-redis",
        &redis.url(),
        "-trusted-proxies",
        "127.0.0.2,127.0.0.3",
    ]);
    let (outer, inner) = (Port::free(), Port::free());
    let proxy = |port: &Port, source: &str, next: u16| {
        let config = format!(
            "server {{ listen 127.0.0.1:{}; location / {{ proxy_bind {source}; proxy_pass http://127.0.0.1:{next};\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n",
            port.number()
        );
        Nginx::start(&config, port.number())
    };
    let _inner = proxy(&inner, "127.0.0.3", http.port());
    let _outer = proxy(&outer, "127.0.0.2", inner.number());
    let close = "Connection: close";
    for lines in [
        &[close][..],
        &[close, "X-Forwarded-For: 203.0.113.9"],
        &[
            close,
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-For: 127.0.0.2, \"oops",
        ],
    ] {
        let answer = get_with(
            &mut connect_from("127.0.0.9", outer.number()),
            "/token",
            lines,
        );
        assert_eq!(
            answer.field("ip"),
            Some("\"127.0.0.9\""),
            "{lines:?}: {answer:?}"
        );
    }
    let keys: Vec<String> = redis.connect().line("KEYS *");
    assert_eq!(keys, ["rl:token:127.0.0.9"]);
}
