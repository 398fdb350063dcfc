//! What `-redis` says: one server, a cluster, or a primary that Sentinels know. Pure.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// What may be said, for whoever said something else.
const EXPECTED: &str = "expected host:port, redis://[user:password@]host:port[/database], rediss:// likewise, \
     unix:/path, redis-cluster://a,b,c or redis-sentinel://a,b,c/name[/database]";

/// What is said of Sentinels without a name.
const NO_NAME: &str = "the name of the primary is missing: redis-sentinel://a,b,c/name";

/// Where a Sentinel listens if nothing is said.
const SENTINEL_PORT: u16 = 26379;

/// A node, as the cluster names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Node {
    /// With the host of `other` if it has none.
    pub(crate) fn or_host_of(self, other: &Self) -> Self {
        if self.host.is_empty() {
            let host = other.host.clone();
            return Self { host, ..self };
        }
        self
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How to reach one server.
pub(crate) type Server = ConnectionInfo;

/// Where Redis is. It is never shown with its password.
#[derive(Clone, Debug)]
pub enum RedisAddress {
    /// One server.
    One(Server),
    /// Some nodes of a cluster, which know the others.
    Cluster(Vec<Server>),
    /// Some Sentinels. The user, password and database are those of the servers that they watch.
    Sentinels {
        /// Where they are.
        sentinels: Vec<Server>,
        /// By what name they know the primary.
        name: String,
    },
}

/// What stands before `://`.
struct Scheme {
    /// That of one of the servers: `redis`, `rediss`, `valkey`, `valkeys`.
    one: String,
    many: Option<Many>,
}

enum Many {
    Cluster,
    Sentinels,
}

impl Scheme {
    fn of(text: &str) -> Self {
        let known = [("-cluster", Many::Cluster), ("-sentinel", Many::Sentinels)];
        for (suffix, many) in known {
            if let Some(one) = text.strip_suffix(suffix) {
                let (one, many) = (one.to_owned(), Some(many));
                return Self { one, many };
            }
        }
        let (one, many) = (text.to_owned(), None);
        Self { one, many }
    }
}

impl RedisAddress {
    /// Reads `text`. With TLS, a server's certificate must be signed by one of `authorities` (PEM), or without them by one
    /// of those that Mozilla trusts.
    ///
    /// # Errors
    ///
    /// What is wrong, without the text itself, in which a password may stand.
    pub fn read(text: &str, authorities: Option<&[u8]>) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_path = text.starts_with("unix:");
            let url = if is_path {
                text.to_owned()
            } else {
                format!("redis://{text}")
            };
            return server(&url, authorities).map(Self::One);
        };
        let Scheme { one, many } = Scheme::of(scheme);
        match many {
            None => server(text, authorities).map(Self::One),
            Some(Many::Cluster) => cluster(&one, rest, authorities),
            Some(Many::Sentinels) => sentinels(&one, rest, authorities),
        }
    }

    /// Whether it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        let servers = match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(servers) => servers,
            Self::Sentinels { sentinels, .. } => sentinels,
        };
        let mut logins = servers.iter().map(ConnectionInfo::redis_settings);
        logins.any(|login| login.password().is_some())
    }

    /// The same with this password, as it is: nothing in it is percent-decoded.
    ///
    /// # Errors
    ///
    /// If it holds a password already.
    pub fn with_password(mut self, password: &str) -> Result<Self, String> {
        if self.has_password() {
            return Err("-redis holds a password too; leave one of the two out".to_owned());
        }
        let servers = match &mut self {
            Self::One(server) => std::slice::from_mut(server),
            Self::Cluster(servers) => servers,
            Self::Sentinels { sentinels, .. } => sentinels,
        };
        for server in servers {
            let login = server.redis_settings().clone().set_password(password);
            *server = server.clone().set_redis_settings(login);
        }
        Ok(self)
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(server) => write!(f, "{}", server.addr()),
            Self::Cluster(nodes) => write!(f, "the cluster of {}", list(nodes)),
            Self::Sentinels { sentinels, name } => write!(f, "{name} of {}", list(sentinels)),
        }
    }
}

fn list(servers: &[Server]) -> String {
    let addresses: Vec<_> = servers
        .iter()
        .map(|server| server.addr().to_string())
        .collect();
    addresses.join(",")
}

/// What stands before the first slash, and after it.
fn split(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or((text, ""))
}

fn cluster(scheme: &str, text: &str, authorities: Option<&[u8]>) -> Result<RedisAddress, String> {
    let (hosts, "") = split(text) else {
        return Err("a cluster has no databases".to_owned());
    };
    let (login, hosts) = login(hosts);
    let node = |host| server(&format!("{scheme}://{login}{host}"), authorities);
    let nodes: Result<_, _> = hosts.split(',').map(node).collect();
    nodes.map(RedisAddress::Cluster)
}

fn sentinels(scheme: &str, text: &str, authorities: Option<&[u8]>) -> Result<RedisAddress, String> {
    let (hosts, path) = split(text);
    let (name, database) = split(path);
    if name.is_empty() {
        return Err(NO_NAME.to_owned());
    }
    let (login, hosts) = login(hosts);
    let sentinel = |host| {
        let port = if has_port(host) {
            String::new()
        } else {
            format!(":{SENTINEL_PORT}")
        };
        server(
            &format!("{scheme}://{login}{host}{port}/{database}"),
            authorities,
        )
    };
    let (sentinels, name) = (
        hosts.split(',').map(sentinel).collect::<Result<_, _>>()?,
        name.to_owned(),
    );
    Ok(RedisAddress::Sentinels { sentinels, name })
}

/// User and password with the at sign after them, and what follows it.
fn login(hosts: &str) -> (&str, &str) {
    hosts.split_at(hosts.rfind('@').map_or(0, |at| at + 1))
}

fn has_port(host: &str) -> bool {
    host.rfind(':') > host.rfind(']')
}

fn server(url: &str, authorities: Option<&[u8]>) -> Result<Server, String> {
    let info = url
        .into_connection_info()
        .map_err(|_| EXPECTED.to_owned())?;
    let info = with_settings(info);
    match (info.addr(), authorities) {
        (ConnectionAddr::TcpTls { insecure: true, .. }, _) => {
            Err("a certificate is always checked: see -redis-ca".to_owned())
        }
        (ConnectionAddr::TcpTls { .. }, Some(pem)) => trusting(info, pem),
        (_, Some(_)) => Err("-redis-ca is for rediss:// only".to_owned()),
        (_, None) => Ok(info),
    }
}

fn trusting(info: Server, pem: &[u8]) -> Result<Server, String> {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    if !matches!(certificates.next(), Some(Ok(_))) {
        return Err("-redis-ca holds no certificate".to_owned());
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    };
    let client = Client::build_with_tls(info, certificates).map_err(|error| error.to_string())?;
    Ok(client.get_connection_info().clone())
}

/// A peer that is gone without a word is noticed in two seconds, and small writes are not held back. CLIENT SETINFO is left
/// out: its user needs fewer rights.
fn with_settings(info: Server) -> Server {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1));
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(2));
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    info.set_tcp_settings(tcp).set_redis_settings(redis)
}

/// The same way in at another host and port.
pub(crate) fn with_host_port(info: &Server, host: &str, port: u16) -> Server {
    let host = host.to_owned();
    let addr = match info.addr().clone() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

/// The name of a node of a cluster. `None` for a socket.
pub(crate) fn node(info: &Server) -> Option<Node> {
    let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = info.addr()
    else {
        return None;
    };
    let (host, port) = (host.clone(), *port);
    Some(Node { host, port })
}

/// How to ask a Sentinel: without a login, which is that of the servers and which a Sentinel may not know; then with it.
pub(crate) fn as_sentinel(info: &Server) -> [Server; 2] {
    let stranger = RedisConnectionInfo::default().set_skip_set_lib_name();
    let known = info
        .redis_settings()
        .clone()
        .set_db(0)
        .set_protocol(ProtocolVersion::RESP2);
    [stranger, known].map(|login| info.clone().set_redis_settings(login))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RedisAddress {
        RedisAddress::read(text, None).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Host and port, user, password and database of one server.
    fn parts(server: &Server) -> (String, Option<&str>, Option<&str>, i64) {
        let login = server.redis_settings();
        (
            server.addr().to_string(),
            login.username(),
            login.password(),
            login.db(),
        )
    }

    #[test]
    fn one_server_is_named_by_host_and_port_or_by_a_url() {
        for (text, expected) in [
            ("localhost:6379", ("localhost:6379", None, None, 0)),
            ("localhost", ("localhost:6379", None, None, 0)),
            ("[::1]:7000", ("::1:7000", None, None, 0)),
            ("redis://:p%40ss@h/3", ("h:6379", None, Some("p@ss"), 3)),
            ("valkey://u:p@h:7/1", ("h:7", Some("u"), Some("p"), 1)),
            ("rediss://u:p@h:7/1", ("h:7", Some("u"), Some("p"), 1)),
            ("unix:/run/redis.sock", ("/run/redis.sock", None, None, 0)),
            (
                "unix:///s?db=2&user=u&pass=p",
                ("/s", Some("u"), Some("p"), 2),
            ),
        ] {
            let RedisAddress::One(server) = read(text) else {
                panic!("{text}");
            };
            let (addr, user, password, db) = parts(&server);
            assert_eq!((addr.as_str(), user, password, db), expected, "{text}");
            let tls = matches!(
                server.addr(),
                ConnectionAddr::TcpTls {
                    insecure: false,
                    ..
                }
            );
            assert_eq!(tls, text.starts_with("rediss"), "{text}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_have_one_login() {
        let address = read("redis-cluster://u:a,b@a:1,[::1]:2,c");
        let RedisAddress::Cluster(nodes) = &address else {
            panic!("{address}");
        };
        let parts: Vec<_> = nodes.iter().map(parts).collect();
        let node = |addr: &str| (addr.to_owned(), Some("u"), Some("a,b"), 0);
        assert_eq!(parts, ["a:1", "::1:2", "c:6379"].map(node));
        assert_eq!(address.to_string(), "the cluster of a:1,::1:2,c:6379");
    }

    #[test]
    fn sentinels_have_a_port_of_their_own_and_the_servers_login() {
        let address = read("valkey-sentinel://:p@a,b:2/primary/5");
        let RedisAddress::Sentinels { sentinels, name } = &address else {
            panic!("{address}");
        };
        let sentinel = |addr: &str| (addr.to_owned(), None, Some("p"), 5);
        let expected = ["a:26379", "b:2"].map(sentinel);
        assert_eq!(sentinels.iter().map(parts).collect::<Vec<_>>(), expected);
        assert_eq!(
            (name.as_str(), address.to_string().as_str()),
            ("primary", "primary of a:26379,b:2")
        );
        let [stranger, known] = as_sentinel(&sentinels[0]);
        assert_eq!(parts(&stranger), ("a:26379".to_owned(), None, None, 0));
        assert_eq!(parts(&known), ("a:26379".to_owned(), None, Some("p"), 0));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, error) in [
            ("redis://:s3cret@localhost:bad", EXPECTED),
            ("http://:s3cret@localhost", EXPECTED),
            ("redis://:s3cret@localhost/database", EXPECTED),
            ("", EXPECTED),
            ("redis-cluster://:s3cret@a,,b", EXPECTED),
            (
                "redis-cluster://:s3cret@a,b/1",
                "a cluster has no databases",
            ),
            ("redis-sentinel://:s3cret@a,b", NO_NAME),
            ("redis-sentinel://:s3cret@a,b/name/db", EXPECTED),
            (
                "rediss://:s3cret@a#insecure",
                "a certificate is always checked: see -redis-ca",
            ),
        ] {
            assert_eq!(RedisAddress::read(text, None).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn authorities_are_for_tls_and_there_must_be_some() {
        let read = |text| RedisAddress::read(text, Some(b"no certificate")).unwrap_err();
        assert_eq!(read("redis://a"), "-redis-ca is for rediss:// only");
        assert_eq!(read("rediss://a"), "-redis-ca holds no certificate");
    }

    #[test]
    fn another_node_is_reached_in_the_same_way() {
        let RedisAddress::One(server) = read("rediss://u:p@a:1") else {
            panic!();
        };
        let other = with_host_port(&server, "b", 2);
        assert_eq!(parts(&other), ("b:2".to_owned(), Some("u"), Some("p"), 0));
        assert!(matches!(other.addr(), ConnectionAddr::TcpTls { .. }));
        assert_eq!(
            node(&other).map(|node| node.to_string()),
            Some("b:2".to_owned())
        );
    }
}
