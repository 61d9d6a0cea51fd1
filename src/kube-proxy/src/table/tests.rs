//! Transactions between states of the table.

use super::*;

fn name(name: &str) -> Owner {
    Owner::Service(ServiceName { namespace: "a".to_owned(), name: name.to_owned() })
}

fn key(key: &str) -> ElementKey {
    ElementKey { collection: Collection::ServiceIps, key: key.to_owned() }
}

fn fragment(key_text: &str, chains: &[(&str, &str)]) -> Fragment {
    Fragment {
        elements: [(key(key_text), Some(format!("goto {}", chains[0].0)))].into(),
        chains: chains.iter().map(|(c, r)| ((*c).to_owned(), vec![(*r).to_owned()])).collect(),
        ..Fragment::default()
    }
}

#[test]
fn the_full_text_replaces_whatever_is_there() {
    let mut table = Table::new(Family::Ip, 0x4000);
    table.change(vec![(name("web"), Some(fragment("10.96.0.1 . tcp . 80", &[("service-x", "drop")])))]);
    insta::assert_snapshot!(table.full(&Remembered::new()));
}

#[test]
fn a_change_touches_only_what_differs() {
    let mut table = Table::new(Family::Ip, 0x4000);
    let before = fragment("10.96.0.1 . tcp . 80", &[("service-x", "goto e1"), ("e1", "accept")]);
    let after = fragment("10.96.0.1 . tcp . 80", &[("service-x", "goto e2"), ("e2", "accept")]);
    table.change(vec![(name("web"), Some(before))]);
    insta::assert_snapshot!(table.change(vec![(name("web"), Some(after))]), @r"
    add chain ip kube-proxy e2
    flush chain ip kube-proxy service-x
    add rule ip kube-proxy e2 accept
    add rule ip kube-proxy service-x goto e2
    flush chain ip kube-proxy e1
    delete chain ip kube-proxy e1
    ");
}

#[test]
fn no_change_is_no_transaction() {
    let mut table = Table::new(Family::Ip, 0x4000);
    let web = fragment("10.96.0.1 . tcp . 80", &[("service-x", "drop")]);
    table.change(vec![(name("web"), Some(web.clone()))]);
    assert_eq!(table.change(vec![(name("web"), Some(web))]), "");
    assert_eq!(table.change(vec![(name("other"), None)]), "");
}

#[test]
fn two_services_may_claim_one_address_and_the_second_takes_over() {
    let mut table = Table::new(Family::Ip, 0x4000);
    let (one, two) =
        (fragment("192.0.2.1 . tcp . 80", &[("c1", "drop")]), fragment("192.0.2.1 . tcp . 80", &[("c2", "drop")]));
    let text = table.change(vec![(name("one"), Some(one)), (name("two"), Some(two))]);
    assert_eq!(text.matches("192.0.2.1").count(), 1, "{text}");
    assert!(text.contains("goto c1"), "{text}");
    let text = table.change(vec![(name("one"), None)]);
    let (gone, new) = (text.find("delete element").unwrap(), text.find("add element").unwrap());
    assert!(gone < new && text.contains(": goto c2"), "{text}");
    assert!(new < text.find("delete chain ip kube-proxy c1").unwrap(), "{text}");
}

#[test]
fn an_address_moves_between_services_in_one_transaction() {
    let mut table = Table::new(Family::Ip, 0x4000);
    let make = |chain| Some(fragment("10.96.0.1 . tcp . 80", &[(chain, "drop")]));
    table.change(vec![(name("one"), make("c1"))]);
    let text = table.change(vec![(name("one"), None), (name("two"), make("c2"))]);
    assert!(text.find("delete element").unwrap() < text.find("add element").unwrap(), "{text}");
}

#[test]
fn clients_with_affinity_survive_a_full_load() {
    let json = r#"{"nftables": [{"metainfo": {}}, {"set": {"name": "affinity-e", "elem": [
        {"elem": {"val": "10.0.0.9", "timeout": 100, "expires": 49}}, {"elem": {"val": "nonsense", "expires": 9}}, "10.0.0.8"]}},
        {"set": {"name": "cluster-ips", "elem": ["10.96.0.1"]}}, {"set": {"name": "affinity-gone", "elem": [{"elem": {"val": "10.0.0.1", "expires": 4}}]}}]}"#;
    let kept = remembered(json);
    assert_eq!(kept["affinity-e"], [("10.0.0.9".to_owned(), 49)]);
    let mut table = Table::new(Family::Ip, 0x4000);
    let sets = Fragment { affinity_sets: [("affinity-e".to_owned(), 100)].into(), ..Fragment::default() };
    table.change(vec![(name("web"), Some(sets))]);
    let text = table.full(&kept);
    assert!(text.contains("add element ip kube-proxy affinity-e { 10.0.0.9 expires 49s }"), "{text}");
    assert!(!text.contains("affinity-gone"), "{text}");
}

#[test]
fn a_table_that_is_no_json_remembers_nobody() {
    assert!(remembered("not json").is_empty());
    assert!(remembered("{}").is_empty());
}
