//! `rl-server` behind real proxies. Each runs the configuration that server/README.md shows for it, and has the same
//! tests.

mod caddy; // Caddy's forward_auth
mod envoy; // Envoy's ext_authz over HTTP
mod gateway; // the requests of the Kubernetes Gateway API's filter ExternalAuth
mod haproxy; // HAProxy, which asks from Lua
mod nginx; // nginx's auth_request, and two nginx in a row
mod traefik; // Traefik's forwardAuth

use nix::sys::signal::Signal;
use rl_tests::{
    Answer, Application, HttpServer, PoliciesFile, Port, Program, Proxy, RedisServer, blocks,
    connect_from, document, eventually, section, send,
};

/// The limits of server/policies.toml, and those of the tests: they refill nothing meanwhile, on a slow machine too.
const LIMITS: [(&str, &str); 3] = [
    (
        r#"rate = "5/m", burst = 5"#,
        r#"rate = "1/1000d", burst = 2"#,
    ),
    (
        r#"rate = "10/s", burst = 20"#,
        r#"rate = "1/1000d", burst = 3"#,
    ),
    (
        r#"rate = "1000/h", burst = 1000"#,
        r#"rate = "1/1000d", burst = 1000"#,
    ),
];

/// The RateLimit-Policy of both policies with these limits. The first limit is the one that denies.
const LOGIN: &str = r#""login";q=2;w=172800000"#;
const API: &str = r#""second";q=3;w=259200000, "hour";q=1000;w=86400000000"#;

/// The documentation of all proxies.
fn documentation() -> String {
    section(&document("server/README.md"), "## Behind proxies")
}

/// The configuration of one proxy.
fn documented_files(program: Program) -> Vec<String> {
    let (heading, languages): (_, &[&str]) = match program {
        Program::Nginx => ("### nginx", &["nginx"]),
        Program::Haproxy => ("### HAProxy", &["haproxy", "lua"]),
        Program::Envoy => ("### Envoy", &["yaml"]),
        Program::Traefik => ("### Traefik", &["yaml"]),
        Program::Caddy => ("### Caddy", &["caddyfile"]),
    };
    let section = section(&documentation(), heading);
    let of_language = |language: &&str| blocks(&section, language);
    languages.iter().flat_map(of_language).collect()
}

/// `text` with each change made; all of them must apply.
fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    })
}

/// An `rl-server` with the documented policies and flags, and its Redis.
struct Limiter {
    http: HttpServer,
    redis: RedisServer,
    _policies: PoliciesFile,
}

impl Limiter {
    /// With other `limits` than the documentation has, and more `flags`.
    fn start(limits: &[(&str, &str)], flags: &[&str]) -> Self {
        let policies = PoliciesFile::new(&changed(&document("server/policies.toml"), limits));
        let file = [("server/policies.toml", policies.path())];
        let command = changed(&blocks(&documentation(), "sh")[0], &file);
        let mut documented = command
            .trim()
            .split(' ')
            .skip_while(|word| *word != "127.0.0.1:8080");
        assert_eq!(documented.next(), Some("127.0.0.1:8080"), "{command}");
        let redis = RedisServer::start();
        let url = redis.url();
        let own = ["-redis", &url];
        let all: Vec<&str> = own
            .into_iter()
            .chain(documented)
            .chain(flags.iter().copied())
            .collect();
        let http = HttpServer::start(&all);
        Self {
            http,
            redis,
            _policies: policies,
        }
    }
}

/// A documented proxy before an application, and before an `rl-server` that it asks.
struct Site {
    port: Port,
    _proxy: Proxy,
    application: Application,
    limiter: Limiter,
}

impl Site {
    /// `None` if the proxy is not installed.
    fn start(program: Program) -> Option<Self> {
        Self::start_with(program, &LIMITS, &[], &[])
    }

    /// With other `limits` than the documentation has, more `flags` of rl-server, and `changes` of the configuration.
    fn start_with(
        program: Program,
        limits: &[(&str, &str)],
        flags: &[&str],
        changes: &[(&str, &str)],
    ) -> Option<Self> {
        let documented_flags: &[&str] = match program {
            Program::Nginx => &["-deny-status", "403"],
            _ => &[],
        };
        let limiter = Limiter::start(limits, &[documented_flags, flags].concat());
        let (port, application) = (Port::free(), Application::start());
        let ports = [port.number(), limiter.http.port(), application.port()];
        let files: Vec<String> = documented_files(program)
            .iter()
            .map(|file| with_ports(&changed(file, changes), ports))
            .collect();
        let proxy = Proxy::start(program, &files, port.number())?;
        let site = Self {
            port,
            _proxy: proxy,
            application,
            limiter,
        };
        // Traefik listens before it has read its routes.
        eventually("the proxy to know its routes", || {
            let answer = site.get("127.0.0.250", "/", &[]);
            (answer.status == 200).then_some(())
        });
        let _ = site.application.requests();
        Some(site)
    }

    fn get(&self, client: &str, target: &str, lines: &[&str]) -> Answer {
        self.request(client, &format!("GET {target}"), lines)
    }

    /// Sends a request such as `POST /orders?x=1` from this address, with these header lines.
    fn request(&self, client: &str, request: &str, lines: &[&str]) -> Answer {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let body = if request.starts_with("POST") {
            "Content-Length: 4\r\n\r\nbody"
        } else {
            "\r\n"
        };
        send(
            &mut connect_from(client, self.port.number()),
            &format!(
                "{request} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{lines}{body}"
            ),
        )
    }
}

/// The configuration with these ports of the loopback address: those of the site, of rl-server and of the application.
fn with_ports(file: &str, ports: [u16; 3]) -> String {
    let documented = [
        ("listen 80;", "listen 127.0.0.1:{site};"),
        ("bind :80\n", "bind 127.0.0.1:{site}\n"),
        (
            "address: 0.0.0.0, port_value: 80 ",
            "address: 127.0.0.1, port_value: {site} ",
        ),
        ("\":80\"", "\"127.0.0.1:{site}\""),
        ("example.com {", "http://:{site} {\n    bind 127.0.0.1"),
        (":8080", ":{server}"),
        ("port_value: 8080 ", "port_value: {server} "),
        (":3000", ":{application}"),
        ("port_value: 3000 ", "port_value: {application} "),
    ];
    // In two steps, since one port may contain the digits of another.
    let named = documented
        .iter()
        .fold(file.to_owned(), |file, (from, to)| file.replace(from, to));
    ["{site}", "{server}", "{application}"]
        .iter()
        .zip(ports)
        .fold(named, |file, (name, port)| {
            file.replace(name, &port.to_string())
        })
}

/// Checks that the client gets the RateLimit headers of rl-server: this policy, and this many requests that remain.
fn assert_has_headers(answer: &Answer, policy: &str, remaining: u32) {
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some(policy),
        "{answer:?}"
    );
    let field = answer.header("ratelimit").expect("a decision");
    let names = |list: &str| {
        let members = list.split(", ");
        members
            .map(|member| member.split(';').next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(field), names(policy));
    let name = policy.split(';').next().expect("a name");
    assert!(
        field.starts_with(&format!("{name};r={remaining};t=")),
        "{field}"
    );
}

/// Checks that the client was denied by this policy, and can read when to come back.
fn assert_denied(denied: &Answer, policy: &str) {
    assert_eq!(denied.status, 429, "{denied:?}");
    assert_has_headers(denied, policy, 0);
    let wait_s = denied.header("retry-after").expect("a wait");
    let s: u64 = wait_s.parse().expect("seconds");
    assert!((1..=86_400_000).contains(&s), "{wait_s}");
    let field = denied.header("ratelimit").expect("as checked above");
    let denying = field.split(", ").next().expect("a limit");
    assert!(denying.ends_with(&format!(";t={wait_s}")), "{field}");
    assert_eq!(denied.header("content-type"), Some("application/json"));
    assert_eq!(denied.header("cache-control"), Some("no-store"));
    assert!(denied.body.contains("Rate limit exceeded"), "{denied:?}");
}

/// The steps of all proxies.
impl Site {
    /// Whether an allowed client gets the RateLimit headers differs.
    fn limits_each_route_by_its_policy(&self, allowed_have_headers: bool) {
        let login = ["GET /login?x=1", "POST /login"];
        let other = [
            "GET /some/page?of=it",
            "POST /orders?x=1",
            "DELETE /orders/1",
        ];
        for (requests, policy) in [(&login[..], LOGIN), (&other[..], API)] {
            for (request, remaining) in requests.iter().zip((0..requests.len()).rev()) {
                let allowed = self.request("127.0.0.9", request, &[]);
                assert_eq!(
                    (allowed.status, allowed.body.as_str()),
                    (200, "the application"),
                    "{request}"
                );
                assert_eq!(allowed.header("retry-after"), None);
                if allowed_have_headers {
                    let remaining = u32::try_from(remaining).expect("few");
                    assert_has_headers(&allowed, policy, remaining);
                }
            }
            for request in requests {
                assert_denied(&self.request("127.0.0.9", request, &[]), policy);
            }
            assert_eq!(self.application.requests(), requests);
            let another = self.request("127.0.0.10", requests[0], &[]);
            assert_eq!(another.status, 200, "another caller");
            let _ = self.application.requests();
        }
    }

    /// Whatever the client says of its address.
    fn limits_the_address_of_the_connection(&self) {
        for _ in 0..3 {
            assert_eq!(self.get("127.0.0.9", "/", &[]).status, 200);
        }
        for made_up in [
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-For: 203.0.113.9, 127.0.0.1",
            "Forwarded: for=203.0.113.9",
            "X-Real-IP: 203.0.113.9",
        ] {
            assert_denied(&self.get("127.0.0.9", "/", &[made_up]), API);
        }
    }

    /// Where the policy asks for it, and nowhere else.
    fn gives_a_key_its_own_bucket(&self) {
        let key = ["X-Api-Key: k-5f3a9c"];
        for client in ["127.0.0.9", "127.0.0.10", "127.0.0.11"] {
            assert_eq!(self.get(client, "/?of=it", &key).status, 200, "{client}");
        }
        assert_denied(&self.get("127.0.0.12", "/?of=it", &key), API);
        assert_eq!(self.get("127.0.0.9", "/", &[]).status, 200, "no key");
        for client in ["127.0.0.9", "127.0.0.9", "127.0.0.10"] {
            assert_eq!(self.get(client, "/login", &key).status, 200, "{client}");
        }
        assert_denied(&self.get("127.0.0.9", "/login", &key), LOGIN);
    }

    /// rl-server decides on its own meanwhile.
    fn stays_up_and_limited_without_redis(&self) {
        self.limiter.redis.kill();
        for (target, burst, policy) in [("/login", 2, LOGIN), ("/", 3, API)] {
            for _ in 0..burst {
                let answer = self.get("127.0.0.9", target, &[]);
                assert_eq!(
                    (answer.status, answer.body.as_str()),
                    (200, "the application")
                );
            }
            assert_denied(&self.get("127.0.0.9", target, &[]), policy);
        }
    }

    /// The answer to a client while there is no Redis and rl-server answers 503, which it does for an overload too. The
    /// request does not reach the application.
    fn answers_without_redis_where_an_outage_denies(program: Program) -> Option<Answer> {
        let site = Self::start_with(program, &LIMITS, &["-on-outage", "deny"], &[])?;
        site.limiter.redis.kill();
        let answer = site.get("127.0.0.9", "/", &[]);
        assert_eq!(site.application.requests(), [""; 0]);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("ratelimit"), None);
        Some(answer)
    }

    /// The answer to a client while there is no rl-server. The request does not reach the application.
    fn answers_without_rl_server(&mut self) -> Answer {
        self.limiter.http.signal(Signal::SIGKILL);
        self.limiter.http.exit_code();
        let answer = self.get("127.0.0.9", "/", &[]);
        assert_eq!(self.application.requests(), [""; 0]);
        answer
    }
}
