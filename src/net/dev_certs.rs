//! Certificates for the first start: an authority that signs one server and one client certificate and is then
//! forgotten. Part of `net`.
//!
//! The authority's key is never written, so nobody can sign anything else with it; all five files are made
//! together or not at all, and none is ever overwritten.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::net::tls::{ClientAuth, TlsError, TlsFiles};

/// The files that are made, all in one folder.
pub const FILES: [&str; 5] = ["ca.crt", "server.crt", "server.key", "client.crt", "client.key"];

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years: long enough never to be in a developer's way.
const VALID: Duration = Duration::from_secs(3650 * 86_400);
/// Some year past 7000, since the Unix epoch: room for [`VALID`] within four-digit years.
const CALENDAR_END: Duration = Duration::from_secs(160_000_000_000);

/// Where the certificates came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provision {
    /// They were there.
    Found,
    /// They were made now.
    Made,
}

/// Makes development certificates in `folder` if `files` are those names in it and none of them exists. When
/// every needed file exists nothing is touched, so a user's own files stand beside or instead of these.
///
/// # Errors
/// Some needed files exist and some do not: the missing one is named, and nothing is made.
pub fn provide(folder: &Path, files: &TlsFiles, now_ms: u64) -> Result<Provision, TlsError> {
    let mut needed = vec![&files.certificate, &files.key];
    match &files.clients {
        ClientAuth::Off => {}
        ClientAuth::Optional(ca) | ClientAuth::Required(ca) => needed.push(ca),
    }
    let Some(missing) = needed.iter().find(|file| !file.exists()) else {
        return Ok(Provision::Found);
    };
    let made_here: Vec<PathBuf> = FILES.iter().map(|name| folder.join(name)).collect();
    if needed.iter().any(|file| !made_here.contains(*file)) {
        return Err(TlsError::file(missing, "does not exist"));
    }
    if let Some(there) = made_here.iter().find(|file| file.exists()) {
        let text = format!(
            "does not exist, but {} does: complete your own files, or remove them all to have development \
             certificates made",
            there.display()
        );
        return Err(TlsError::file(missing, text));
    }
    let texts = generate(now_ms).map_err(|error| TlsError::Generate(error.to_string()))?;
    fs::create_dir_all(folder).map_err(|error| TlsError::file(folder, error))?;
    for (file, text) in made_here.iter().zip(texts) {
        write_new(file, &text).map_err(|error| TlsError::file(file, error))?;
    }
    Ok(Provision::Made)
}

/// Keys are for their owner alone; certificates are public.
fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    let mode =
        if file.extension().is_some_and(|extension| extension == "key") { 0o600 } else { 0o644 };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

/// The contents of [`FILES`], in that order; ECDSA on P-256, which every client knows.
fn generate(now_ms: u64) -> Result<[String; 5], rcgen::Error> {
    let authority = authority(now_ms)?;
    let (server_certificate, server_key) =
        leaf(&authority, "localhost", ExtendedKeyUsagePurpose::ServerAuth, now_ms)?;
    let (client_certificate, client_key) =
        leaf(&authority, "rialto-client", ExtendedKeyUsagePurpose::ClientAuth, now_ms)?;
    let ca = authority.pem();
    Ok([ca, server_certificate, server_key, client_certificate, client_key])
}

fn authority(now_ms: u64) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = named("Rialto development authority", now_ms);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    now_ms: u64,
) -> Result<(String, String), rcgen::Error> {
    let mut params = named(name, now_ms);
    if purpose == ExtendedKeyUsagePurpose::ServerAuth {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Valid from yesterday, for clients whose clock is a little behind.
fn named(name: &str, now_ms: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Rialto development");
    params.distinguished_name.push(DnType::CommonName, name);
    // A clock that is thousands of years ahead must not overflow the calendar.
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now_ms).min(CALENDAR_END);
    params.not_before = now - DAY;
    params.not_after = now + VALID;
    params
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{FILES, Provision, provide};
    use crate::net::tls::{ClientAuth, TlsFiles};

    fn files(folder: &Path) -> TlsFiles {
        TlsFiles {
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
            clients: ClientAuth::Off,
        }
    }

    #[test]
    fn five_files_are_made_once_and_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        assert_eq!(provide(&certs, &files(&certs), 0).unwrap(), Provision::Made);
        let read = || FILES.map(|name| fs::read(certs.join(name)).unwrap());
        let made = read();
        assert_eq!(provide(&certs, &files(&certs), 0).unwrap(), Provision::Found);
        assert_eq!(read(), made);
        assert_eq!(fs::read_dir(&certs).unwrap().count(), 5, "the authority's key is nowhere");
        for name in ["server.key", "client.key"] {
            assert_eq!(fs::metadata(certs.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_lost_file_is_named_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path();
        fs::write(certs.join("server.crt"), "mine").unwrap();
        let error = provide(certs, &files(certs), 0).unwrap_err().to_string();
        assert!(error.contains("server.key: does not exist, but "), "{error}");
        assert_eq!(fs::read_dir(certs).unwrap().count(), 1);
        assert_eq!(fs::read(certs.join("server.crt")).unwrap(), b"mine");
    }

    #[test]
    fn files_under_other_names_are_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let own = TlsFiles { key: folder.path().join("own.key"), ..files(folder.path()) };
        let error = provide(folder.path(), &own, 0).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
