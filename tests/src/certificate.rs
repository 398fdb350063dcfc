//! Certificates for a server on the loopback address.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate authority, and a certificate for `localhost` and `127.0.0.1` that it has signed, as PEM files.
#[derive(Debug)]
pub struct Certificate {
    dir: TempDir,
}

impl Certificate {
    /// Creates a new authority and a certificate signed by it.
    ///
    /// # Panics
    ///
    /// If the files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the certificates");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let server = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let server = server.signed_by(&key, &authority).expect("signed");
        for (name, pem) in [
            ("authority.pem", authority.pem()),
            ("server.pem", server.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(dir.path().join(name), pem).expect("written");
        }
        Self { dir }
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The path of the authority's certificate.
    #[must_use]
    pub fn authority(&self) -> String {
        self.file("authority.pem")
    }

    /// The arguments that make a redis-server use the certificate.
    #[must_use]
    pub fn args(&self) -> [String; 8] {
        let (server, key, authority) = (
            self.file("server.pem"),
            self.file("key.pem"),
            self.authority(),
        );
        let arg = str::to_owned;
        [
            arg("--tls-cert-file"),
            server,
            arg("--tls-key-file"),
            key,
            arg("--tls-ca-cert-file"),
            authority,
            arg("--tls-auth-clients"),
            arg("no"),
        ]
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
