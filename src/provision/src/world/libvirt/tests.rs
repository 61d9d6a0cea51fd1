use super::*;
use crate::progress::Format;
use crate::world::simulated::{Faults, Lab};

fn described(lab: &Lab, name: &str) -> Result<String> {
    let config = Config {
        state_dir: "/nonexistent/state".into(),
        cache_dir: "/nonexistent/cache".into(),
        hyperkube: None,
        kubeconfig: None,
        output: Format::Text,
    };
    let libvirt = Libvirt::new(lab.desired(), &lab.state, &config)?;
    libvirt.describe_machine(name, None, true)?.to_xml()
}

#[tokio::test]
async fn a_member_that_goes_is_described_as_it_was_made() {
    let spec = |n: u32| {
        let size = "machine: {cpus: 3, memory: 3Gi}";
        format!("{{controlPlane: {{replicas: {n}, {size}}}, loadBalancer: {{}}, workers: [{{name: w{n}}}]}}")
    };
    let mut lab = Lab::new(&spec(3));
    lab.up(Faults::None, 0).await.plan();
    let name = "demo-control-plane-3";
    let made = described(&lab, name).unwrap();
    lab.ask_for(&spec(1), "v0.1.0-one");
    assert!(lab.desired().machine(name).is_err(), "nobody asks for it any more");
    assert_eq!(described(&lab, name).unwrap(), made);
    // Of a pool that is gone nobody knows the size, and nothing of it has to start again.
    assert_eq!(described(&lab, "demo-w3-1").unwrap_err().to_string(), "nobody says how large demo-w3-1 is");
}
