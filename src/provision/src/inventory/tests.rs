use super::*;

#[test]
fn a_host_says_what_it_has_in_three_words() {
    let host = |components: &str, configured: &str, kubelet| SeenHost {
        components: components.to_owned(),
        configured: configured.to_owned(),
        kubelet,
    };
    assert_eq!(parse("v1\nabc\nactive"), host("v1", "abc", true));
    assert_eq!(parse("-\n-\ninactive"), host("-", "-", false));
    assert_eq!(parse("v1\nabc\nactivating"), host("v1", "abc", false), "a kubelet that starts again and again");
    assert_eq!(parse(""), host("-", "-", false), "a host that says nothing has nothing");
}
