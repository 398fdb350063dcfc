//! Reads the address of `-redis`: one server, the nodes of a cluster, or the Sentinels of a primary. Pure.
//!
//! It does not connect.

mod tls;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use rustls::ClientConfig;

/// The error for an address in no known form.
const EXPECTED: &str = "expected host:port, redis://[user:password@]host:port[/database], rediss:// likewise, \
     unix:/path, redis-cluster://a,b,c or redis-sentinel://a,b,c/name[/database]";

/// The error for Sentinels without the name of a primary.
const NO_NAME: &str = "the name of the primary is missing: redis-sentinel://a,b,c/name";

/// The default port of a Sentinel.
const SENTINEL_PORT: &str = ":26379";

/// A node of a cluster, by the host and port that the cluster announces for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Node {
    /// This node, with the host of `other` if its own host is empty.
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

/// How to connect to one server: address, TLS, login and database. It is displayed as its address.
#[derive(Clone, Debug)]
pub struct Server {
    address: Address,
    login: RedisConnectionInfo,
    /// The authorities that the certificate of the server is checked by. `None` without TLS.
    tls: Option<Arc<ClientConfig>>,
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(Node),
    Unix(PathBuf),
}

impl Server {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// User and password. A password without a user is that of the user `default`.
    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        let password = self.login.password()?;
        Some((self.login.username().unwrap_or("default"), password))
    }

    pub(crate) fn database(&self) -> i64 {
        self.login.db()
    }

    pub(crate) fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(node) => node.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The address of Redis. It is displayed without user and password.
#[derive(Clone, Debug)]
pub enum RedisAddress {
    /// One server.
    Server(Server),
    /// At least one node of a cluster. The other nodes are found through it.
    Cluster(Vec<Server>),
    /// The Sentinels of a primary. Their login and database are those of the servers that they monitor.
    Sentinels {
        /// At least one Sentinel.
        sentinels: Vec<Server>,
        /// The name of the primary at the Sentinels.
        name: String,
    },
}

impl RedisAddress {
    /// Parses the value of `-redis`. With TLS, the certificate of a server must be signed by one of `authorities`
    /// (PEM), or without them by an authority that Mozilla trusts.
    ///
    /// # Errors
    ///
    /// What is wrong and what is expected. The error does not repeat the text, because it may contain a password.
    pub fn parse(text: &str, authorities: Option<&[u8]>) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_path = text.starts_with("unix:");
            let url = if is_path {
                text.to_owned()
            } else {
                format!("redis://{text}")
            };
            return server(&url, authorities).map(Self::Server);
        };
        if let Some(scheme) = scheme.strip_suffix("-cluster") {
            cluster(scheme, rest, authorities)
        } else if let Some(scheme) = scheme.strip_suffix("-sentinel") {
            sentinels(scheme, rest, authorities)
        } else {
            server(text, authorities).map(Self::Server)
        }
    }

    /// Whether the address contains a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        let servers = match self {
            Self::Server(server) => std::slice::from_ref(server),
            Self::Cluster(servers) => servers,
            Self::Sentinels { sentinels, .. } => sentinels,
        };
        servers.iter().any(|server| server.login().is_some())
    }

    /// Adds a password, which is not percent-decoded.
    ///
    /// # Errors
    ///
    /// If the address already contains a password.
    pub fn with_password(mut self, password: &str) -> Result<Self, String> {
        if self.has_password() {
            return Err("-redis contains a password too; remove one of them".to_owned());
        }
        let servers = match &mut self {
            Self::Server(server) => std::slice::from_mut(server),
            Self::Cluster(servers) => servers,
            Self::Sentinels { sentinels, .. } => sentinels,
        };
        for server in servers {
            server.login = server.login.clone().set_password(password);
        }
        Ok(self)
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Cluster(nodes) => write!(f, "the cluster of {}", list(nodes)),
            Self::Sentinels { sentinels, name } => write!(f, "{name} of {}", list(sentinels)),
        }
    }
}

fn list(servers: &[Server]) -> String {
    Vec::from_iter(servers.iter().map(Server::to_string)).join(",")
}

fn split_at_slash(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or((text, ""))
}

fn cluster(scheme: &str, text: &str, authorities: Option<&[u8]>) -> Result<RedisAddress, String> {
    let (hosts, "") = split_at_slash(text) else {
        return Err(
            "a cluster has no databases: remove the path, as in redis-cluster://a,b,c".to_owned(),
        );
    };
    let (login, hosts) = split_login(hosts);
    let node = |host| server(&format!("{scheme}://{login}{host}"), authorities);
    let nodes: Result<_, _> = hosts.split(',').map(node).collect();
    nodes.map(RedisAddress::Cluster)
}

fn sentinels(scheme: &str, text: &str, authorities: Option<&[u8]>) -> Result<RedisAddress, String> {
    let (hosts, path) = split_at_slash(text);
    let (name, database) = split_at_slash(path);
    if name.is_empty() {
        return Err(NO_NAME.to_owned());
    }
    let (login, hosts) = split_login(hosts);
    let sentinel = |host| {
        let port = if has_port(host) { "" } else { SENTINEL_PORT };
        let url = format!("{scheme}://{login}{host}{port}/{database}");
        server(&url, authorities)
    };
    let sentinels = hosts.split(',').map(sentinel).collect::<Result<_, _>>()?;
    let name = name.to_owned();
    Ok(RedisAddress::Sentinels { sentinels, name })
}

/// User and password with the at sign, and the hosts after it. A password may contain commas, so this comes first.
fn split_login(hosts: &str) -> (&str, &str) {
    hosts.split_at(hosts.rfind('@').map_or(0, |at| at + 1))
}

fn has_port(host: &str) -> bool {
    host.rfind(':') > host.rfind(']')
}

/// Parses the URL of one server.
fn server(url: &str, authorities: Option<&[u8]>) -> Result<Server, String> {
    let info = url
        .into_connection_info()
        .map_err(|_| EXPECTED.to_owned())?;
    let tls = match (info.addr(), authorities) {
        (ConnectionAddr::TcpTls { insecure: true, .. }, _) => Err(
            "remove #insecure: certificates are always checked, by -redis-ca if that is set"
                .to_owned(),
        ),
        (ConnectionAddr::TcpTls { .. }, _) => tls::config(authorities).map(Some),
        (_, Some(_)) => Err(
            "-redis-ca needs a rediss:// address: write rediss:// in -redis, or remove -redis-ca"
                .to_owned(),
        ),
        (_, None) => Ok(None),
    }?;
    Ok(Server {
        address: address(&info).ok_or(EXPECTED)?,
        login: info.redis_settings().clone(),
        tls,
    })
}

fn address(info: &ConnectionInfo) -> Option<Address> {
    match info.addr().clone() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Address::Tcp(Node { host, port }))
        }
        ConnectionAddr::Unix(path) => Some(Address::Unix(path)),
        // The client library may add further kinds.
        _ => None,
    }
}

/// Another host and port, with the TLS settings, login and database of `server`.
pub(crate) fn with_host_port(server: &Server, host: &str, port: u16) -> Server {
    let host = host.to_owned();
    let address = Address::Tcp(Node { host, port });
    Server {
        address,
        ..server.clone()
    }
}

/// Host and port of a server. `None` for a unix socket.
pub(crate) fn node(server: &Server) -> Option<Node> {
    match server.address() {
        Address::Tcp(node) => Some(node.clone()),
        Address::Unix(_) => None,
    }
}

/// Two ways to connect to a Sentinel: without a login and with the one in the address. The login is that of the
/// monitored servers, so a Sentinel may not have it.
pub(crate) fn sentinel_logins(sentinel: &Server) -> [Server; 2] {
    let logins = [
        RedisConnectionInfo::default(),
        sentinel.login.clone().set_db(0),
    ];
    logins.map(|login| Server {
        login,
        ..sentinel.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RedisAddress {
        RedisAddress::parse(text, None).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Address, user, password and database of one server.
    fn parts(server: &Server) -> (String, Option<&str>, Option<&str>, i64) {
        let login = &server.login;
        let (user, password) = (login.username(), login.password());
        (server.to_string(), user, password, server.database())
    }

    #[test]
    fn one_server_is_a_host_and_port_or_a_url() {
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
            let RedisAddress::Server(server) = parse(text) else {
                panic!("{text}");
            };
            let (addr, user, password, db) = parts(&server);
            assert_eq!((addr.as_str(), user, password, db), expected, "{text}");
            assert_eq!(server.tls().is_some(), text.starts_with("rediss"), "{text}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_share_one_login() {
        let address = parse("redis-cluster://u:a,b@a:1,[::1]:2,c");
        let RedisAddress::Cluster(nodes) = &address else {
            panic!("{address}");
        };
        let parts: Vec<_> = nodes.iter().map(parts).collect();
        let node = |addr: &str| (addr.to_owned(), Some("u"), Some("a,b"), 0);
        assert_eq!(parts, ["a:1", "::1:2", "c:6379"].map(node));
        assert_eq!(address.to_string(), "the cluster of a:1,::1:2,c:6379");
    }

    #[test]
    fn sentinels_have_their_own_port_and_the_login_of_the_servers() {
        let address = parse("valkey-sentinel://:p@a,b:2/primary/5");
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
        let [anonymous, logged_in] = sentinel_logins(&sentinels[0]);
        let addr = "a:26379".to_owned();
        assert_eq!(parts(&anonymous), (addr.clone(), None, None, 0));
        assert_eq!(parts(&logged_in), (addr, None, Some("p"), 0));
    }

    #[test]
    fn errors_do_not_repeat_the_password() {
        for (text, error) in [
            ("redis://:s3cret@localhost:bad", EXPECTED),
            ("http://:s3cret@localhost", EXPECTED),
            ("redis://:s3cret@localhost/database", EXPECTED),
            ("", EXPECTED),
            ("redis-cluster://:s3cret@a,,b", EXPECTED),
            (
                "redis-cluster://:s3cret@a,b/1",
                "a cluster has no databases: remove the path, as in redis-cluster://a,b,c",
            ),
            ("redis-sentinel://:s3cret@a,b", NO_NAME),
            ("redis-sentinel://:s3cret@a,b/name/db", EXPECTED),
            (
                "rediss://:s3cret@a#insecure",
                "remove #insecure: certificates are always checked, by -redis-ca if that is set",
            ),
        ] {
            assert_eq!(
                RedisAddress::parse(text, None).unwrap_err(),
                error,
                "{text}"
            );
        }
    }

    #[test]
    fn authorities_need_tls_and_at_least_one_certificate() {
        let error = |text| RedisAddress::parse(text, Some(b"no certificate")).unwrap_err();
        assert_eq!(
            error("redis://a"),
            "-redis-ca needs a rediss:// address: write rediss:// in -redis, or remove -redis-ca"
        );
        assert_eq!(
            error("rediss://a"),
            "-redis-ca contains no PEM certificate: name a file with BEGIN CERTIFICATE"
        );
    }

    #[test]
    fn another_node_is_reached_with_the_same_tls_and_login() {
        let RedisAddress::Server(server) = parse("rediss://u:p@a:1") else {
            panic!();
        };
        let other = with_host_port(&server, "b", 2);
        assert_eq!(parts(&other), ("b:2".to_owned(), Some("u"), Some("p"), 0));
        assert!(other.tls().is_some());
        assert_eq!(node(&other).unwrap().to_string(), "b:2");
    }
}
