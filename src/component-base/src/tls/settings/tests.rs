use super::*;

#[test]
fn versions_have_gos_names() {
    for (text, expected) in [
        ("", Some(MinVersion::Tls12)),
        ("VersionTLS12", Some(MinVersion::Tls12)),
        ("VersionTLS13", Some(MinVersion::Tls13)),
        ("VersionTLS11", None),
        ("VersionTLS10", None),
        ("1.2", None),
    ] {
        assert_eq!(MinVersion::parse(text).ok(), expected, "{text}");
    }
}

#[test]
fn suites_have_gos_names_and_an_unknown_one_is_answered_with_a_list() {
    for text in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ] {
        assert!(CipherSuite::parse(text).is_ok(), "{text}");
    }
    for text in ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "", "tls_aes_128_gcm_sha256"] {
        let error = CipherSuite::parse(text).unwrap_err();
        assert!(error.contains("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), "{error}");
    }
    let older = CipherSuite::parse("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305");
    assert_eq!(older, CipherSuite::parse("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"));
}

#[test]
fn chosen_suites_are_the_only_ones_of_their_version() {
    let chosen = CipherSuite::parse("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384").unwrap();
    let settings = TlsSettings { cipher_suites: vec![chosen], ..TlsSettings::default() };
    let offered: Vec<_> = settings.provider().cipher_suites.into_iter().map(|suite| names(suite)[0].clone()).collect();
    let old: Vec<_> = offered.iter().filter(|name| name.contains("_WITH_")).collect();
    assert_eq!(old, ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]);
    assert_eq!(offered.len(), 4, "all of TLS 1.3 stay: {offered:?}");
}

#[test]
fn pairs_for_names_are_read_as_upstream_does() {
    let check = |text: &str, expected: Option<(&str, &str, &[&str])>| {
        let read = NamedFiles::parse(text).ok();
        let expected = expected.map(|(cert, key, names)| NamedFiles {
            cert: cert.into(),
            key: key.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        });
        assert_eq!(read, expected, "{text}");
    };
    check("a.crt,a.key", Some(("a.crt", "a.key", &[])));
    check("a.crt, a.key:*.A.example, b.example", Some(("a.crt", "a.key", &["*.a.example", "b.example"])));
    for wrong in ["", "a.crt", "a.crt,a.key,b", "a.crt,a.key:", "a.crt,a.key:a,,b", ",a.key", "a.crt,a.key:192.0.2.1"] {
        check(wrong, None);
    }
}
