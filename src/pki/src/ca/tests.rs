use super::*;
use crate::certificate::CertificateInfo;
use crate::csr;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("kubernetes", now(), 10 * DAY).unwrap()
}

fn request(usages: &[Usage]) -> LeafRequest {
    LeafRequest {
        common_name: "system:node:n1".into(),
        organizations: vec!["system:nodes".into(), "second".into(), "third".into()],
        sans: vec![
            SubjectAltName::parse("n1.example"),
            SubjectAltName::parse("10.1.2.3"),
            SubjectAltName::parse("fd00::1"),
        ],
        usages: usages.to_vec(),
        lifetime: DAY,
    }
}

/// Builds the chain as a TLS peer would.
fn chain_verifies(ca_pem: &str, leaf_pem: &str, usage: webpki::KeyUsage, at: Timestamp, host: Option<&str>) -> bool {
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap();
    let leaf = CertificateDer::from_pem_slice(leaf_pem.as_bytes()).unwrap();
    let anchor = webpki::anchor_from_trusted_cert(&ca).unwrap();
    let end = webpki::EndEntityCert::try_from(&leaf).unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).unwrap()));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    end.verify_for_usage(algorithms, &[anchor], &[], time, usage, None, None).is_ok()
        && host.is_none_or(|host| end.verify_is_valid_for_subject_name(&ServerName::try_from(host).unwrap()).is_ok())
}

#[test]
fn issued_chain_verifies_for_its_usage_names_and_time_only() {
    let ca = authority();
    let leaf = ca.issue(&request(&[Usage::ServerAuth]), now()).unwrap();
    let check = |usage, at, host| chain_verifies(ca.cert_pem(), &leaf.cert_pem, usage, at, host);
    assert!(check(webpki::KeyUsage::server_auth(), now(), Some("n1.example")));
    assert!(check(webpki::KeyUsage::server_auth(), now(), Some("10.1.2.3")));
    assert!(check(webpki::KeyUsage::server_auth(), now(), Some("fd00::1")));
    assert!(!check(webpki::KeyUsage::server_auth(), now(), Some("n2.example")));
    assert!(!check(webpki::KeyUsage::client_auth(), now(), None));
    assert!(!check(webpki::KeyUsage::server_auth(), now() + SignedDuration::from_hours(25), None));
    assert!(!check(webpki::KeyUsage::server_auth(), now() - SignedDuration::from_hours(1), None));
    assert!(!chain_verifies(authority().cert_pem(), &leaf.cert_pem, webpki::KeyUsage::server_auth(), now(), None));
}

#[test]
fn all_organizations_and_names_survive() {
    let ca = authority();
    let leaf = ca.issue(&request(&[Usage::ClientAuth]), now()).unwrap();
    let info = CertificateInfo::from_pem(&leaf.cert_pem).unwrap();
    assert_eq!(info.common_name, "system:node:n1");
    assert_eq!(info.organizations, ["system:nodes", "second", "third"]);
    assert_eq!(info.issuer, "kubernetes");
    assert_eq!(info.sans, request(&[]).sans);
    assert_eq!(info.not_after, now() + SignedDuration::from_hours(24));
    assert!(!info.is_ca);
    assert!(info.valid_at(now()) && !info.valid_at(now() + SignedDuration::from_hours(25)));
}

#[test]
fn leaf_never_outlives_its_authority() {
    let ca = authority();
    let leaf = ca.issue(&LeafRequest { lifetime: 100 * DAY, ..request(&[]) }, now()).unwrap();
    assert_eq!(CertificateInfo::from_pem(&leaf.cert_pem).unwrap().not_after, ca.not_after());
}

#[test]
fn validity_beyond_2049_is_written_with_four_digit_years() {
    let ca = CertificateAuthority::generate("far", now(), 36500 * DAY).unwrap();
    assert_eq!(CertificateInfo::from_pem(ca.cert_pem()).unwrap().not_after, ca.not_after());
}

#[test]
fn stored_authority_goes_on_signing() {
    let made = authority();
    let read = CertificateAuthority::from_pem(made.cert_pem(), &made.key_pem()).unwrap();
    let leaf = read.issue(&request(&[Usage::ClientAuth]), now()).unwrap();
    assert!(chain_verifies(made.cert_pem(), &leaf.cert_pem, webpki::KeyUsage::client_auth(), now(), None));
    let stranger = authority();
    assert!(matches!(CertificateAuthority::from_pem(made.cert_pem(), &stranger.key_pem()), Err(PkiError::KeyMismatch)));
    assert!(matches!(CertificateAuthority::from_pem(&leaf.cert_pem, &leaf.key_pem), Err(PkiError::NotAnAuthority)));
}

#[test]
fn request_is_signed_with_its_own_subject_key_and_names() {
    let ca = authority();
    let key = KeyPair::generate().unwrap();
    let wanted = request(&[]);
    let csr = csr::create(&wanted.common_name, &wanted.organizations, &wanted.sans, &key).unwrap();
    let parsed = CertificateRequest::from_pem(&csr).unwrap();
    assert_eq!((parsed.organizations.len(), parsed.sans.len()), (3, 3));
    let cert = ca.sign_csr(&csr, &[Usage::ServerAuth, Usage::DigitalSignature], DAY, now()).unwrap();
    assert!(chain_verifies(ca.cert_pem(), &cert, webpki::KeyUsage::server_auth(), now(), Some("10.1.2.3")));
    assert_eq!(CertificateInfo::from_pem(&cert).unwrap().organizations, wanted.organizations);
    let bare = csr::create("x", &[], &[], &key).unwrap();
    assert!(CertificateRequest::from_pem(&bare).unwrap().sans.is_empty());
}

#[test]
fn tampered_request_is_refused() {
    let key = KeyPair::generate().unwrap();
    let csr = csr::create("alice", &[], &[], &key).unwrap();
    let mut der = pem::first(&csr, "CERTIFICATE REQUEST").unwrap();
    let at = der.windows(5).position(|window| window == b"alice").unwrap();
    der[at..at + 5].copy_from_slice(b"mallo");
    let forged = pem::encode("CERTIFICATE REQUEST", &der);
    assert!(matches!(CertificateRequest::from_pem(&forged), Err(PkiError::BadSignature)));
    for damaged in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        assert!(CertificateRequest::from_pem(damaged).is_err(), "{damaged}");
    }
}
