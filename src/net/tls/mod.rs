//! TLS 1.2 and 1.3 for listeners: a `rustls` configuration from PEM files. Part of `net`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Which files a listener's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its root; PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whether clients show a certificate.
    pub clients: ClientAuth,
}

/// Whether clients show a certificate, and the file (PEM) of those who vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    Off,
    /// One may be shown; a bad one ends the handshake.
    Optional(PathBuf),
    /// One must be shown.
    Required(PathBuf),
}

/// Why TLS cannot be had: the user's fault, whose files these are.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable or not what it should be.
    #[error("{}: {text}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The files are good one by one but not together, such as a key of another certificate.
    #[error("{} and {}: {text}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why they do not fit.
        text: String,
    },
    /// Development certificates cannot be made.
    #[error("development certificates: {0}")]
    Generate(String),
}

impl TlsError {
    pub(super) fn file(file: &Path, text: impl ToString) -> Self {
        Self::File { file: file.to_owned(), text: text.to_string() }
    }
}

/// TLS of a running broker: handshakes take what is current, connections keep what they began with.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// With the file at fault.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::new(server_config(&files)?);
        Ok(Self { files, current })
    }

    /// What the next handshake uses.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again, as after a renewal.
    ///
    /// # Errors
    /// As [`Tls::open`]; then nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(server_config(&self.files)?);
        Ok(())
    }
}

/// A server configuration from `files`, with the cryptography of `ring` and no others.
///
/// # Errors
/// With the file at fault.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        text: error.to_string(),
    };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::file(&files.key, format!("no private key: {error}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match client_verifier(&files.clients)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(pair)
}

fn client_verifier(clients: &ClientAuth) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (file, required) = match clients {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Optional(file) => (file, false),
        ClientAuth::Required(file) => (file, true),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| TlsError::file(file, error))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| TlsError::file(file, error))
}

/// The certificates of a PEM file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::file(file, format!("no certificates: {error}")))?;
    if found.is_empty() {
        return Err(TlsError::file(file, "holds no certificate"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
