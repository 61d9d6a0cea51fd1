use super::*;

#[test]
fn a_host_says_what_it_has_and_what_runs() {
    let host = |components: &str, configured: &str, services: &[&str]| SeenHost {
        components: components.to_owned(),
        configured: configured.to_owned(),
        software: "-".to_owned(),
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        member: false,
    };
    assert!(parse("v1\nabc\n-\nactive\ninactive\ninactive\ninactive\nmember").member);
    assert!(!parse("v1\nabc\n-\nactive\ninactive\ninactive\ninactive\n-").member);
    assert_eq!(
        parse("v1\nabc\n-\nactive\ninactive\nactive\nactive"),
        host("v1", "abc", &["kubelet", "haproxy", "keepalived"])
    );
    assert_eq!(parse("-\n-\n-\ninactive\ninactive"), host("-", "-", &[]));
    assert_eq!(parse("v1\nabc\n-\nactivating"), host("v1", "abc", &[]), "a kubelet that starts again and again");
    assert_eq!(parse("-\nabc\n-\ninactive\nactivating"), host("-", "abc", &["etcd"]), "a member that waits for others");
    assert_eq!(parse("v1\nabc\nh-node").software, "h-node");
    assert_eq!(parse(""), host("-", "-", &[]), "a host that says nothing has nothing");
}
