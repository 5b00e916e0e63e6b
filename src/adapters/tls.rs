//! How the connections to engines are encrypted.

use std::path::{Path, PathBuf};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject as _},
};

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with certificates cannot be read, or is not PEM.
    #[error("the certificates in {} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// A certificate that cannot sign others.
    #[error("the certificates cannot be used")]
    Unusable(#[source] rustls::Error),
}

/// What trusts the certificates in the file `ca` (PEM), or the public ones where `ca` is
/// empty. It checks names and dates, and shows no certificate of its own.
///
/// # Errors
/// See [`TlsError`].
pub fn client_config(ca: &Path) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if ca.as_os_str().is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        let unreadable = |source| TlsError::Unreadable {
            path: ca.to_owned(),
            source,
        };
        for certificate in CertificateDer::pem_file_iter(ca).map_err(unreadable)? {
            roots
                .add(certificate.map_err(unreadable)?)
                .map_err(TlsError::Unusable)?;
        }
        if roots.is_empty() {
            return Err(TlsError::Empty(ca.to_owned()));
        }
    }
    // Named, because two providers are linked and the library would not choose between them.
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{TlsError, client_config};

    #[test]
    fn certificates_are_the_public_ones_or_those_of_a_file_that_has_some() {
        client_config(Path::new("")).unwrap();
        let missing = client_config(Path::new("/nowhere/ca.pem"));
        assert!(matches!(missing, Err(TlsError::Unreadable { .. })), "{missing:?}");

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "not a certificate").unwrap();
        let empty = client_config(&file);
        assert!(matches!(empty, Err(TlsError::Empty(_))), "{empty:?}");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, broken).unwrap();
        let unusable = client_config(&file);
        assert!(matches!(unusable, Err(TlsError::Unusable(_))), "{unusable:?}");
    }
}
