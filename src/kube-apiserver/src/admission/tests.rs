use clap::Parser;

use super::*;
use crate::config::{Args, Config};

fn admission(flags: &[&str]) -> Result<Admission, String> {
    let fixed = [
        "kube-apiserver",
        "--advertise-address=192.0.2.1",
        "--etcd-servers=http://127.0.0.1:1",
        "--tls-cert-file=c",
        "--tls-private-key-file=k",
        "--service-account-issuer=i",
        "--service-account-key-file=k",
    ];
    let args = Args::try_parse_from(fixed.iter().chain(flags)).unwrap();
    Admission::new(&Config::try_from(args).unwrap().access).map_err(|error| error.to_string())
}

fn is_on(admission: &Admission, name: &str) -> bool {
    admission.plugins.iter().any(|plugin| plugin.name == name)
}

#[test]
fn the_default_set_is_that_of_upstream() {
    let admission = admission(&[]).unwrap();
    for name in [
        "NamespaceLifecycle",
        "LimitRanger",
        "ServiceAccount",
        "TaintNodesByCondition",
        "PodSecurity",
        "Priority",
        "DefaultTolerationSeconds",
        "DefaultStorageClass",
        "StorageObjectInUseProtection",
        "PersistentVolumeClaimResize",
        "RuntimeClass",
        "CertificateApproval",
        "CertificateSigning",
        "CertificateSubjectRestriction",
        "DefaultIngressClass",
        "PodTopologyLabels",
        "ResourceQuota",
    ] {
        assert!(is_on(&admission, name), "{name}");
    }
    for name in ["NodeRestriction", "AlwaysPullImages", "AlwaysDeny", "NamespaceExists"] {
        assert!(!is_on(&admission, name), "{name}");
    }
}

#[test]
fn flags_switch_plugins_on_and_off() {
    let flags = ["--enable-admission-plugins=NodeRestriction,AlwaysPullImages,MutatingAdmissionWebhook"];
    let admission = admission(&[flags[0], "--disable-admission-plugins=PodSecurity,EventRateLimit"]).unwrap();
    assert!(is_on(&admission, "NodeRestriction") && is_on(&admission, "AlwaysPullImages"));
    assert!(!is_on(&admission, "PodSecurity"));
    // Addresses of Services and requesters of certificates are not left to flags.
    assert!(is_on(&admission, "ServiceAddresses") && is_on(&admission, "CertificateRequester"));
}

#[test]
fn a_plugin_that_is_not_here_is_refused_at_the_start() {
    let check = |flags: &[&str], expected: &str| {
        let Err(seen) = admission(flags) else { panic!("{flags:?} is accepted") };
        assert!(seen.contains(expected), "{seen}");
    };
    check(&["--enable-admission-plugins=NodeRestrictions"], "\"NodeRestrictions\" is unknown");
    check(&["--disable-admission-plugins=x"], "\"x\" is unknown");
    check(&["--enable-admission-plugins=ServiceAddresses"], "is unknown");
    check(&["--enable-admission-plugins=EventRateLimit"], "is not part of this release");
    let both = ["--enable-admission-plugins=PodSecurity", "--disable-admission-plugins=PodSecurity"];
    check(&both, "is in both");
    check(&["--admission-control-config-file=/nowhere"], "--admission-control-config-file");
}
