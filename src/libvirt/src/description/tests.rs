use super::*;

fn ours() -> Owner {
    Owner { cluster: "lab".into(), id: "7f".into() }
}

#[test]
fn a_network_is_read_whole() {
    let xml = "<network><name>lab</name><uuid>u-1</uuid>
        <metadata><x:owner xmlns:x='urn:provision:owner:1' cluster='lab' id='7f' spec='s1'/></metadata>
        <bridge name='pv-lab' stp='off'/>
        <ip address='10.87.0.1' netmask='255.255.255.0'><dhcp>
          <host mac='52:54:00:AA:00:01' name='cp-1' ip='10.87.0.11'/></dhcp></ip></network>";
    let found = Description::parse(Object::Network, xml).unwrap();
    assert_eq!(found.name, "lab");
    assert_eq!(found.uuid, "u-1");
    assert_eq!(found.owner, Some(ours()));
    assert_eq!(found.spec, "s1");
    assert_eq!(found.bridge, "pv-lab");
    assert_eq!(found.subnet, Some("10.87.0.0/24".parse().unwrap()));
    assert_eq!(found.hosts[0].mac, "52:54:00:aa:00:01");
    found.check_owner(Object::Network, &ours()).unwrap();
}

#[test]
fn an_owner_element_of_another_namespace_is_not_ours() {
    let xml = "<domain><name>vm</name><metadata><owner xmlns='urn:other' cluster='lab' id='7f'/></metadata></domain>";
    let found = Description::parse(Object::Domain, xml).unwrap();
    assert_eq!(found.owner, None);
    assert!(found.check_owner(Object::Domain, &ours()).is_err());
    assert!(found.holder().contains("not made by provision"));
}

#[test]
fn a_name_elsewhere_is_not_the_name() {
    let xml = "<domain><devices><name>no</name></devices></domain>";
    assert!(Description::parse(Object::Domain, xml).is_err());
}

#[test]
fn a_lease_is_written_for_libvirt() {
    let host = DhcpHost { name: "a&b".into(), mac: "52:54:00:00:00:01".into(), address: "10.87.0.2".parse().unwrap() };
    assert_eq!(host.to_xml(), "<host mac='52:54:00:00:00:01' name='a&amp;b' ip='10.87.0.2'/>");
}
