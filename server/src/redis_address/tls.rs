//! Who may sign the certificates of Redis servers. Pure.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The authorities in `pem` and no others.
fn roots_of(pem: &[u8]) -> Result<RootCertStore, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.unwrap_or_default();
    if certificates.is_empty() {
        return Err(
            "-redis-ca contains no PEM certificate: name a file with BEGIN CERTIFICATE".to_owned(),
        );
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("-redis-ca: {error}: replace the certificate"))?;
    }
    Ok(roots)
}

/// Trusts the authorities in `pem` and no others; without it, those that Mozilla trusts.
///
/// # Errors
///
/// If a certificate in `pem` is invalid, or there is none.
pub(super) fn config(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let roots = match pem {
        Some(pem) => roots_of(pem)?,
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}
