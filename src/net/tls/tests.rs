//! Handshakes in memory with a client that trusts the development authority. Tests of `net::tls`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection};

use super::{ClientAuth, Tls, TlsFiles, server_config};
use crate::net::dev_certs::{FILES, Provision, provide};

/// 2026-01-01.
const NOW_MS: u64 = 1_767_225_600_000;

fn files(folder: &Path, clients: ClientAuth) -> TlsFiles {
    TlsFiles { certificate: folder.join("server.crt"), key: folder.join("server.key"), clients }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path(), ClientAuth::Off);
    assert_eq!(provide(folder.path(), &files, NOW_MS).unwrap(), Provision::Made);
    folder
}

fn client(
    folder: &Path,
    version: &'static rustls::SupportedProtocolVersion,
    with_certificate: bool,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.crt")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    if with_certificate {
        let chain = vec![CertificateDer::from_pem_file(folder.join("client.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    }
}

/// Runs a handshake to its end; the version agreed on, or who refused what.
fn handshake(
    files: &TlsFiles,
    client: ClientConfig,
    name: &str,
) -> Result<ProtocolVersion, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server_config(files).unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    Ok(server.protocol_version().unwrap())
}

#[test]
fn clients_that_trust_the_development_authority_get_in_by_every_local_name() {
    let folder = folder();
    let files = files(folder.path(), ClientAuth::Off);
    for name in ["localhost", "127.0.0.1", "::1"] {
        let tls13 = client(folder.path(), &rustls::version::TLS13, false);
        assert_eq!(handshake(&files, tls13, name), Ok(ProtocolVersion::TLSv1_3));
    }
    let tls12 = client(folder.path(), &rustls::version::TLS12, false);
    assert_eq!(handshake(&files, tls12, "localhost"), Ok(ProtocolVersion::TLSv1_2));
    let other = client(folder.path(), &rustls::version::TLS13, false);
    assert!(
        handshake(&files, other, "example.org").is_err_and(|text| text.starts_with("client: "))
    );
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let folder = folder();
    let ca = folder.path().join("ca.crt");
    let run = |clients: &ClientAuth, with| {
        let client = client(folder.path(), &rustls::version::TLS12, with);
        handshake(&files(folder.path(), clients.clone()), client, "localhost").is_ok()
    };
    let (optional, required) = (ClientAuth::Optional(ca.clone()), ClientAuth::Required(ca));
    assert_eq!([run(&optional, true), run(&optional, false)], [true, true]);
    assert_eq!([run(&required, true), run(&required, false)], [true, false]);
}

#[test]
fn a_certificate_of_another_authority_is_refused_even_when_optional() {
    let (ours, theirs) = (folder(), folder());
    let files = files(ours.path(), ClientAuth::Optional(ours.path().join("ca.crt")));
    fs::copy(ours.path().join("ca.crt"), theirs.path().join("ca.crt")).unwrap();
    let stranger = client(theirs.path(), &rustls::version::TLS12, true);
    assert!(
        handshake(&files, stranger, "localhost").is_err_and(|text| text.starts_with("server: "))
    );
}

#[test]
fn what_is_wrong_with_the_files_is_said_by_name() {
    let folder = folder();
    let good = files(folder.path(), ClientAuth::Off);
    let text = |files: &TlsFiles| server_config(files).unwrap_err().to_string();

    let absent = TlsFiles { certificate: folder.path().join("absent.crt"), ..good.clone() };
    assert!(text(&absent).contains("absent.crt: no certificates"));
    let no_certificate = TlsFiles { certificate: good.key.clone(), ..good.clone() };
    assert!(text(&no_certificate).contains("server.key: holds no certificate"));
    let no_key = TlsFiles { key: good.certificate.clone(), ..good.clone() };
    assert!(text(&no_key).contains("server.crt: no private key"));
    let other_key = TlsFiles { key: folder.path().join("client.key"), ..good };
    assert!(text(&other_key).contains("server.crt and "));
}

#[test]
fn a_reload_takes_new_files_or_keeps_the_old() {
    let (ours, renewed) = (folder(), folder());
    let tls = Tls::open(files(ours.path(), ClientAuth::Off)).unwrap();
    let before = tls.current();
    fs::write(ours.path().join("server.crt"), "nothing").unwrap();
    assert!(tls.reload().is_err());
    assert!(Arc::ptr_eq(&before, &tls.current()));
    for name in FILES {
        fs::copy(renewed.path().join(name), ours.path().join(name)).unwrap();
    }
    tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.current()));
}
