use clap::Parser;

use super::*;

fn config(extra: &[&str]) -> Result<Config, String> {
    let base = [
        "kube-apiserver",
        "--advertise-address=192.0.2.10",
        "--tls-cert-file=a",
        "--tls-private-key-file=b",
        "--etcd-servers=https://127.0.0.1:2379",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    ];
    let args = Args::try_parse_from(base.iter().chain(extra)).map_err(|error| error.to_string())?;
    Config::try_from(args).map_err(|error| error.to_string())
}

#[test]
fn accepts_the_flags_of_a_kubeadm_static_pod() {
    let config = config(&[
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth=true",
        "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt",
        "--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt",
        "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key",
        "--kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt",
        "--kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
        "--proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt",
        "--proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        "--secure-port=6443",
        "--service-account-key-file=/etc/kubernetes/pki/sa.pub",
        "--service-account-signing-key-file=/etc/kubernetes/pki/sa.key",
        "--service-cluster-ip-range=10.96.0.0/12",
        "--v=2",
    ])
    .unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:6443");
    assert_eq!(config.access.authorization_mode, ["Node", "RBAC"]);
    assert!(config.access.allow_privileged);
    assert!(config.access.anonymous_auth);
}

#[test]
fn refuses_what_cannot_work() {
    for (flag, told) in [
        ("--authorization-mode=Magic", "Magic"),
        ("--service-cluster-ip-range=10.0.0.0/30", "10.0.0.0/30"),
        ("--service-cluster-ip-range=10.0.0.0/8", "10.0.0.0/8"),
        ("--service-node-port-range=9-1", "range of ports"),
        ("--etcd-certfile=x", "--etcd-keyfile"),
        ("--goaway-chance=0.5", "between 0 and 0.02"),
        ("--no-such-flag", "--no-such-flag"),
    ] {
        let error = config(&[flag]).unwrap_err();
        assert!(error.contains(told), "{flag}: {error}");
    }
}

#[test]
fn values_that_would_do_nothing_are_refused() {
    for (flag, words) in [
        ("--feature-gates=Sidecar=true", "--feature-gates"),
        ("--runtime-config=apps/v1=false", "--runtime-config"),
        ("--endpoint-reconciler-type=master-count", "--endpoint-reconciler-type"),
        ("--audit-log-mode=blocking", "blocking"),
        ("--oidc-issuer-url=https://issuer.example", "--oidc-client-id"),
    ] {
        assert!(config(&[flag]).unwrap_err().contains(words), "{flag}");
    }
    for flag in ["--profiling=false", "--runtime-config=api/all=true"] {
        assert!(config(&[flag]).is_ok(), "{flag}");
    }
}

#[test]
fn of_a_flag_given_twice_the_last_one_counts_and_lists_go_on() {
    let config = config(&[
        "--secure-port=1",
        "--secure-port=2",
        "--anonymous-auth=false",
        "--anonymous-auth",
        "--authorization-mode=Node",
        "--authorization-mode=RBAC",
    ])
    .unwrap();
    assert_eq!((config.listen.port(), config.access.anonymous_auth), (2, true));
    assert_eq!(config.access.authorization_mode, ["Node", "RBAC"]);
}
