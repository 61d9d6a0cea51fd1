//! A single node on an image as clouds publish it, which brings its own boot loader and none of our software.

use harness::{CloudServer, Lab, cloud_image, skip_reason_of_long_tests};

const NAME: &str = "e2e-cloud";
const NODE: &str = "e2e-cloud-control-plane-1";

fn topology(url: &str, sha256: &str) -> String {
    format!(
        "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {{name: {NAME}}}
spec:
  image: {{cloud: {{url: '{url}', sha256: '{sha256}'}}}}
  infrastructure: {{libvirt: {{uri: embedded}}}}
  controlPlane: {{machine: {{cpus: 2, memory: 2Gi}}}}
"
    )
}

#[test]
fn a_single_node_is_made_from_a_cloud_image() {
    if let Some(reason) = skip_reason_of_long_tests() {
        println!("skipped: {reason}");
        return;
    }
    let server = CloudServer::start(&cloud_image("trixie"));
    let lab = Lab::new(NAME);
    an_image_with_another_checksum_is_refused(&lab, &server);
    let file = lab.write("topology.yaml", topology(server.url(), server.sha256()).as_bytes()).display().to_string();
    let timings = lab.path("timings.json").display().to_string();
    let ran = lab.provision(&["apply", &file, "--timings", &timings]);
    let console = || lab.provision(&["console", NAME, NODE]).stdout;
    assert_eq!(ran.code, 0, "{ran:?}\n--- console\n{}", console());
    println!("timings: {}", std::fs::read_to_string(timings).unwrap());

    let booted = console();
    assert!(booted.contains("PROVISION HOST KEY"), "the machine says its key on its console: {booted}");
    let nodes = lab.kubectl(&["get", "nodes", "-o", "wide"]);
    let row: Vec<&str> = nodes.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[2]), (NODE, "Ready", "control-plane"), "{nodes}");
    assert!(nodes.contains("Debian GNU/Linux 13"), "{nodes}");
    no_secret_is_on_the_seed_disk(&lab);

    let again = lab.provision(&["apply", &file]);
    assert_eq!((again.code, again.stdout.contains("no change")), (0, true), "{again:?}");
    assert_eq!(lab.provision(&["destroy", NAME, "--yes"]).code, 0);
    assert!(!lab.state().exists());
}

/// Nothing is made of an image that is not the one that was asked for.
fn an_image_with_another_checksum_is_refused(lab: &Lab, server: &CloudServer) {
    let wrong = "0".repeat(64);
    let file = lab.write("wrong.yaml", topology(server.url(), &wrong).as_bytes()).display().to_string();
    let ran = lab.provision(&["apply", &file]);
    assert_eq!((ran.code, ran.stderr.contains("has the SHA-256")), (1, true), "{ran:?}");
    assert!(ran.stderr.contains("hint: the publisher has replaced the image"), "{ran:?}");
    assert!(!lab.state().join("disks").exists(), "no disk is made of it");
    assert_eq!(lab.provision(&["destroy", NAME, "--yes"]).code, 0);
}

fn no_secret_is_on_the_seed_disk(lab: &Lab) {
    let seed = std::fs::read(lab.state().join("disks").join(format!("{NODE}.seed"))).unwrap();
    let text = String::from_utf8_lossy(&seed);
    assert!(text.contains("#cloud-config") && text.contains("ssh-ed25519 "), "it is the seed");
    for secret in ["PRIVATE", "token", "password:", "client-key"] {
        assert!(!text.contains(secret), "{secret} is on a disk that the machine's users can read");
    }
}
