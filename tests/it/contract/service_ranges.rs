//! A network of cluster IPs from its beginning to its end, with our own controllers beside the server.

use std::process::{Child, Command, Stdio};

use harness::{Answer, ApiServer, core};
use serde_json::{Value, json};

use crate::server;

const CONTROLLERS: &str = env!("CARGO_BIN_EXE_controllers-under-test");
const RANGE: &str = "/apis/networking.k8s.io/v1/servicecidrs/more";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// The controller of these networks, which ends with its test.
struct Controllers(Child);

impl Controllers {
    fn start(server: &ApiServer) -> Self {
        let user = server.kubeconfig_of("system:kube-controller-manager", &[]);
        let child = Command::new(CONTROLLERS)
            .arg(format!("--kubeconfig={}", server.write("controllers.conf", &user).display()))
            .args(["--leader-elect=false", "--bind-address=127.0.0.1", "--controllers=service-cidr-controller"])
            // With the rights of its own account only.
            .arg("--use-service-account-credentials=true")
            .arg(format!("--secure-port={}", storage::testing::free_port()))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(server.path("controllers.log")).unwrap())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ready(range: &Value) -> (&str, &str) {
    let conditions = range["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let word = |key: &str| ready.and_then(|ready| ready[key].as_str()).unwrap_or_default();
    (word("status"), word("reason"))
}

fn service(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

#[tokio::test]
async fn a_network_is_protected_while_services_have_its_addresses_and_then_goes() {
    let server = server().await;
    let admin = server.admin();
    let _controllers = Controllers::start(&server);
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}});
    admin.create("/apis/networking.k8s.io/v1/servicecidrs", &range).await.ok();
    let protected = |answer: &Answer| {
        answer.body["metadata"]["finalizers"] == json!([FINALIZER]) && ready(&answer.body).0 == "True"
    };
    admin.get_until(RANGE, protected).await;
    // So is the one of the flags, which the server made itself.
    admin.get_until("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", protected).await;
    admin.create(&core("services"), &service("s", "10.97.0.5")).await.ok();
    let ending = admin.delete(RANGE).await.ok();
    assert!(ending["metadata"]["deletionTimestamp"].is_string(), "{ending}");
    admin.get_until(RANGE, |answer| ready(&answer.body) == ("False", "Terminating")).await;
    admin.create(&core("services"), &service("late", "10.97.0.6")).await.failed(422);
    admin.delete(&core("services/s")).await.ok();
    admin.get_until(RANGE, |answer| answer.code == 404).await;
}
