//! The real adapter against libvirt's own in-process test driver: no daemon, no root.

use super::*;

fn owner(id: &str) -> Owner {
    Owner { cluster: "lab".into(), id: id.into() }
}

fn metadata(id: &str) -> String {
    format!("<metadata><p:owner xmlns:p='urn:provision:owner:1' cluster='lab' id='{id}' spec='v1'/></metadata>")
}

fn domain(id: &str) -> String {
    format!(
        "<domain type='test'><name>lab-cp-1</name><uuid>6b1f0f5e-0000-4000-8000-000000000001</uuid>{}<memory>8192</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>",
        metadata(id)
    )
}

fn network(id: &str) -> String {
    format!(
        "<network><name>lab</name>{}<bridge name='pv-lab'/><ip address='10.87.0.1' netmask='255.255.255.0'/></network>",
        metadata(id)
    )
}

async fn daemon() -> Daemon {
    Daemon::connect("test:///default").await.unwrap()
}

#[tokio::test]
async fn a_domain_lives_and_dies_and_each_step_can_be_repeated() {
    let (daemon, me) = (daemon().await, owner("1"));
    for _ in 0..2 {
        daemon.define_domain(&me, &domain("1")).await.unwrap();
    }
    assert_eq!(daemon.domains(&me).await.unwrap()[0].spec, "v1");
    for _ in 0..2 {
        daemon.start_domain(&me, "lab-cp-1").await.unwrap();
        assert_eq!(daemon.domains(&me).await.unwrap()[0].state, DomainState::Running);
    }
    daemon.shutdown_domain(&me, "lab-cp-1", Duration::from_secs(5)).await.unwrap();
    for _ in 0..2 {
        daemon.destroy_domain(&me, "lab-cp-1").await.unwrap();
        assert_eq!(daemon.domains(&me).await.unwrap()[0].state, DomainState::Stopped);
    }
    for _ in 0..2 {
        daemon.remove_domain(&me, "lab-cp-1").await.unwrap();
        assert!(daemon.domains(&me).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_belongs_to_others_is_refused_and_left_alone() {
    let (daemon, me) = (daemon().await, owner("1"));
    daemon.define_domain(&owner("2"), &domain("2")).await.unwrap();
    let refused = daemon.define_domain(&me, &domain("1")).await.unwrap_err();
    assert!(matches!(refused, HypervisorError::Foreign { .. }), "{refused}");
    assert!(refused.cure().is_some());
    // The test driver starts with a domain called "test".
    for name in ["lab-cp-1", "test"] {
        assert!(daemon.remove_domain(&me, name).await.is_err());
        assert!(daemon.start_domain(&me, name).await.is_err());
    }
    assert!(daemon.remove_network(&me, "default").await.is_err());
    assert!(daemon.domains(&me).await.unwrap().is_empty());
    assert_eq!(daemon.domains(&owner("2")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_description_without_our_owner_element_is_refused() {
    let refused = daemon().await.define_domain(&owner("1"), &domain("2")).await.unwrap_err();
    assert!(matches!(refused, HypervisorError::Description { .. }), "{refused}");
}

#[tokio::test]
async fn a_network_is_made_once_and_removed_once() {
    let (daemon, me) = (daemon().await, owner("1"));
    for _ in 0..2 {
        daemon.ensure_network(&me, &network("1")).await.unwrap();
        let seen = daemon.networks(&me).await.unwrap();
        assert!(seen[0].active);
        assert_eq!(seen[0].bridge, "pv-lab");
    }
    assert!(daemon.occupied_networks().await.unwrap().len() >= 2);
    for _ in 0..2 {
        daemon.remove_network(&me, "lab").await.unwrap();
        assert!(daemon.networks(&me).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_unreachable_daemon_is_named_with_a_cure() {
    let uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";
    let refused = Daemon::connect(uri).await.err().unwrap();
    assert!(refused.to_string().contains(uri));
    assert!(refused.cure().unwrap().contains("run the command again"));
}

#[tokio::test]
async fn starting_a_missing_domain_names_it() {
    let refused = daemon().await.start_domain(&owner("1"), "lab-cp-9").await.unwrap_err();
    assert!(refused.to_string().contains("\"lab-cp-9\" does not exist"), "{refused}");
}

#[tokio::test]
async fn memory_of_this_machine_is_what_its_kernel_says() {
    let host = daemon().await.host().await.unwrap();
    assert!(host.free_memory_bytes > 0 && host.free_memory_bytes <= host.memory_bytes);
    assert!(host.cpus > 0);
}
