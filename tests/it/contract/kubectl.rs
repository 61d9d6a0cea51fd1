//! kubectl of two ages against the server: what people type.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use harness::{ApiServer, Client, ClientProgram};
use serde_json::Value;

use crate::{examples, server};

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1
        ports: [{containerPort: 80}, {containerPort: 443}]
        env: [{name: A, value: a}]
";

fn kubectl(server: &ApiServer) -> Option<Client<'_>> {
    Client::of(ClientProgram::Kubectl, server)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn kubectl_explains_every_kind_with_its_fields() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    for row in api::resources() {
        let version = format!("--api-version={}", row.api_version());
        let text = kubectl.ok(&["explain", row.plural, &version]);
        assert!(text.contains(&format!("KIND:       {}", row.kind)), "{text}");
        assert!(text.contains("FIELDS:") && text.contains("apiVersion\t<string>"), "{text}");
    }
    let deep = kubectl.ok(&["explain", "pods.spec.containers.livenessProbe.httpGet.port"]);
    assert!(deep.contains("IntOrString") && deep.contains("Name or number of the port"), "{deep}");
    let all = kubectl.ok(&["explain", "deployments", "--recursive"]);
    assert!(all.contains("topologySpreadConstraints"), "{all}");
    assert!(kubectl.fails(&["explain", "pods.spec.nonsense"]).contains("nonsense"));
}

#[tokio::test]
async fn kubectl_applies_diffs_and_prunes_on_the_client_side() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let file = server.write("web.yaml", DEPLOYMENT);
    let file = file.to_str().unwrap();
    assert_eq!(kubectl.run(&["diff", "-f", file]).code, 1, "all of it is new");
    assert!(kubectl.ok(&["apply", "-f", file]).contains("deployment.apps/web created"));
    assert!(kubectl.ok(&["apply", "-f", file]).contains("deployment.apps/web unchanged"));
    let diff = kubectl.run(&["diff", "-f", file]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, ""), "{}", diff.stderr);
    kubectl.ok(&["scale", "deployment/web", "--replicas=5"]);
    kubectl.ok(&["set", "env", "deployment/web", "B=b"]);
    let changed =
        DEPLOYMENT.replace("nginx:1", "nginx:2").replace("{containerPort: 80}, ", "").replace("replicas: 2\n  ", "");
    server.write("web.yaml", &changed);
    let diff = kubectl.run(&["diff", "-f", file]);
    assert_eq!(diff.code, 1);
    assert!(diff.stdout.contains("+        image: nginx:2"), "{}", diff.stdout);
    assert!(kubectl.ok(&["apply", "-f", file]).contains("configured"));
    let web = json(&kubectl.ok(&["get", "deployment", "web", "-o", "json"]));
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "nginx:2");
    assert_eq!(container["ports"].as_array().unwrap().len(), 1, "the other port was taken away: {container}");
    assert_eq!(container["env"].as_array().unwrap().len(), 2, "what others added stays: {container}");
    assert_eq!(web["spec"]["replicas"], 1, "a field that is no longer said gets its default");
    assert_eq!(web["metadata"]["generation"], 4);
    kubectl.ok(&["delete", "-f", file]);
    assert!(kubectl.fails(&["get", "deployment", "web"]).contains("NotFound"));
}

#[tokio::test]
async fn kubectl_applies_on_the_server_side_with_conflicts_and_force() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let file = server.write("web.yaml", DEPLOYMENT);
    let apply = ["apply", "--server-side", "-f", file.to_str().unwrap()];
    assert!(kubectl.ok(&apply).contains("serverside-applied"));
    kubectl.ok(&["set", "image", "deployment/web", "web=nginx:9"]);
    let refused = kubectl.fails(&apply);
    assert!(refused.contains("Apply failed with 1 conflict"), "{refused}");
    assert!(refused.contains(".spec.template.spec.containers[name=\"web\"].image"), "{refused}");
    kubectl.ok(&[&apply[..], &["--force-conflicts"]].concat());
    let web = json(&kubectl.ok(&["get", "deployment", "web", "-o", "json", "--show-managed-fields"]));
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1");
    let managers: Vec<&str> = web["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    assert!(managers.contains(&"kubectl"), "{managers:?}");
    let diff = kubectl.run(&["diff", "--server-side", "-f", file.to_str().unwrap()]);
    assert_eq!(diff.code, 0, "{}{}", diff.stdout, diff.stderr);
    let second = kubectl.ok(&["apply", "--server-side", "--field-manager=other", "-f", file.to_str().unwrap()]);
    assert!(second.contains("serverside-applied"), "the same values are shared without a conflict");
}

#[tokio::test]
async fn kubectl_waits_and_watches() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let mut watching = kubectl.start(&["get", "configmaps", "-w", "-o", "name"]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    kubectl.ok(&["create", "configmap", "seen", "--from-literal=a=1"]);
    let seen = lines.find(|line| line.as_deref().is_ok_and(|line| line == "configmap/seen"));
    assert!(seen.is_some(), "the watch told of it");
    end(watching);
    kubectl.ok(&["run", "pod", "--image=busybox:1"]);
    let waiting = kubectl.start(&["wait", "--for=condition=Ready", "pod/pod", "--timeout=60s"]);
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}],"phase":"Running"}}"#;
    kubectl.ok(&["patch", "pod", "pod", "--subresource=status", "--type=strategic", "-p", ready]);
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    kubectl.ok(&["wait", "--for=jsonpath={.status.phase}=Running", "pod/pod", "--timeout=60s"]);
    let going = kubectl.start(&["wait", "--for=delete", "pod/pod", "--timeout=60s"]);
    kubectl.ok(&["delete", "pod", "pod", "--grace-period=0", "--force"]);
    assert!(going.wait_with_output().unwrap().status.success());
}

/// Ends a program that would go on for ever.
fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn kubectl_shows_edits_labels_and_describes() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let file = server.write("web.yaml", DEPLOYMENT);
    let file = file.to_str().unwrap();
    kubectl.ok(&["create", "-f", file]);
    assert!(kubectl.fails(&["create", "-f", file]).contains("AlreadyExists"));
    kubectl.ok(&["label", "deployment", "web", "tier=front"]);
    kubectl.ok(&["annotate", "deployment", "web", "note=this"]);
    assert!(kubectl.ok(&["get", "deploy", "-l", "tier=front", "-o", "name"]).contains("deployment.apps/web"));
    assert!(kubectl.ok(&["get", "deploy", "-l", "tier notin (front)", "-o", "name"]).is_empty());
    let wide = kubectl.ok(&["get", "deploy", "-o", "wide"]);
    assert!(wide.contains("CONTAINERS") && wide.contains("nginx:1"), "{wide}");
    let described = kubectl.ok(&["describe", "deployment", "web"]);
    assert!(described.contains("Replicas:               2 desired"), "{described}");
    for form in ["json", "merge", "strategic"] {
        let patch = match form {
            "json" => r#"[{"op":"replace","path":"/spec/replicas","value":3}]"#,
            _ => r#"{"spec":{"replicas":4}}"#,
        };
        kubectl.ok(&["patch", "deploy", "web", "--type", form, "-p", patch]);
    }
    kubectl.ok(&["replace", "-f", file]);
    assert!(kubectl.ok(&["rollout", "history", "deploy/web"]).contains("deployment.apps/web"));
    kubectl.ok(&["rollout", "pause", "deploy/web"]);
    kubectl.ok(&["autoscale", "deploy/web", "--max=3"]);
    assert!(kubectl.ok(&["get", "all"]).contains("horizontalpodautoscaler.autoscaling/web"));
    kubectl.ok(&["expose", "deploy/web", "--port=80"]);
    assert!(kubectl.ok(&["get", "endpoints,svc", "-o", "name"]).contains("service/web"));
    for kind in ["quota", "role", "rolebinding", "pdb", "priorityclass", "secret", "sa", "ingress", "cronjob", "job"] {
        made(&kubectl, kind);
    }
    let sorted = kubectl.ok(&["get", "ns", "--sort-by=.metadata.name", "-o", "name"]);
    assert!(sorted.starts_with("namespace/default\nnamespace/kube-node-lease\n"), "{sorted}");
    let chunks = kubectl.ok(&["get", "ns,sa,secret", "-A", "--chunk-size=1", "-o", "name"]);
    assert!(chunks.contains("namespace/kube-system") && chunks.contains("secret/x"), "{chunks}");
}

fn made(kubectl: &Client<'_>, kind: &str) {
    let more: &[&str] = match kind {
        "quota" => &["--hard=pods=10"],
        "role" => &["--verb=get", "--resource=pods"],
        "rolebinding" => &["--role=x", "--user=somebody"],
        "pdb" => &["--selector=app=web", "--min-available=1"],
        "priorityclass" => &["--value=10"],
        "secret" => return drop(kubectl.ok(&["create", "secret", "generic", "x", "--from-literal=a=b"])),
        "ingress" => &["--rule=example.com/*=web:80"],
        "cronjob" => &["--schedule=0 0 * * *", "--image=busybox:1"],
        "job" => &["--image=busybox:1"],
        _ => &[],
    };
    kubectl.ok(&[&["create", kind, "x"], more].concat());
}

#[tokio::test]
async fn kubectl_asks_who_it_is_and_what_it_may() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    assert!(kubectl.ok(&["auth", "whoami"]).contains("kubernetes-admin"));
    assert_eq!(kubectl.ok(&["auth", "can-i", "delete", "nodes"]).trim(), "yes");
    let stranger = ["auth", "can-i", "get", "pods", "--as=stranger"];
    assert_eq!(kubectl.run(&stranger).stdout.trim(), "no");
    assert!(kubectl.ok(&["auth", "can-i", "--list"]).contains("*.*"));
    assert!(kubectl.fails(&["get", "pods", "--as=stranger"]).contains("cannot list resource \"pods\""));
    kubectl.ok(&["create", "sa", "robot"]);
    let token = kubectl.ok(&["create", "token", "robot", "--duration=10m"]);
    let seen = kubectl.ok(&["auth", "whoami", "--as=system:serviceaccount:default:robot", "-o", "json"]);
    assert!(token.matches('.').count() == 2 && seen.contains("system:serviceaccounts"), "{seen}");
    let versions = kubectl.ok(&["version", "-o", "json"]);
    assert_eq!(json(&versions)["serverVersion"]["major"], "1");
    assert!(kubectl.ok(&["api-versions"]).contains("apps/v1"));
    let resources = kubectl.ok(&["api-resources", "--no-headers"]);
    for row in api::resources() {
        assert!(resources.lines().any(|line| line.starts_with(&format!("{} ", row.plural))), "{}", row.plural);
    }
    assert!(kubectl.ok(&["cluster-info"]).contains("is running at"));
    assert!(kubectl.ok(&["get", "--raw", "/readyz?verbose"]).contains("[+]etcd ok"));
}

#[tokio::test]
async fn kubectl_validates_on_the_server() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let wrong = DEPLOYMENT.replace("replicas: 2", "replicas: 2\n  replica: 3");
    let refused = kubectl.run_with(&["apply", "-f", "-"], &wrong);
    assert!(refused.code != 0 && refused.stderr.contains("unknown field \"spec.replica\""), "{}", refused.stderr);
    let warned = kubectl.run_with(&["apply", "--validate=warn", "-f", "-"], &wrong);
    assert!(warned.code == 0 && warned.stderr.contains("Warning: unknown field \"spec.replica\""), "{}", warned.stderr);
    let silent = kubectl.run_with(&["apply", "--validate=ignore", "-f", "-"], &wrong);
    assert!(silent.code == 0 && silent.stderr.is_empty(), "{}", silent.stderr);
    let dry = kubectl
        .run_with(&["apply", "--dry-run=server", "-f", "-"], &DEPLOYMENT.replace("name: web\n  l", "name: dry\n  l"));
    assert!(dry.code == 0 && dry.stdout.contains("(server dry run)"), "{}", dry.stderr);
    assert!(kubectl.fails(&["get", "deploy", "dry"]).contains("NotFound"));
}

#[tokio::test]
async fn kubectl_evicts_cordons_and_drains() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let node = server.write("node.json", &examples::of("Node").object.to_string());
    kubectl.ok(&["create", "-f", node.to_str().unwrap()]);
    let on_node = r#"{"spec":{"nodeName":"example"}}"#;
    kubectl.ok(&["run", "guest", "--image=busybox:1", "--overrides", on_node]);
    kubectl.ok(&["cordon", "example"]);
    assert!(kubectl.ok(&["get", "node", "example"]).contains("SchedulingDisabled"));
    kubectl.ok(&["taint", "node", "example", "key=value:NoSchedule"]);
    let drained = kubectl.start(&["drain", "example", "--force", "--grace-period=0", "--timeout=60s"]);
    let ended = drained.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(kubectl.fails(&["get", "pod", "guest"]).contains("NotFound"));
    kubectl.ok(&["uncordon", "example"]);
}

#[tokio::test]
async fn an_old_kubectl_still_works() {
    let server = server().await;
    let Some(kubectl) = Client::of(ClientProgram::OldKubectl, &server) else { return };
    let file = server.write("web.yaml", DEPLOYMENT);
    let file = file.to_str().unwrap();
    // Its validation reads OpenAPI v2, its `explain` too.
    assert!(kubectl.ok(&["apply", "-f", file]).contains("created"));
    assert!(kubectl.ok(&["apply", "-f", file]).contains("unchanged"));
    assert!(kubectl.ok(&["explain", "deployment.spec.template.spec.containers.ports"]).contains("hostPort"));
    assert_eq!(kubectl.run(&["diff", "-f", file]).code, 0);
    assert!(kubectl.ok(&["apply", "--server-side", "--force-conflicts", "-f", file]).contains("serverside-applied"));
    kubectl.ok(&["scale", "deploy/web", "--replicas=3"]);
    assert!(kubectl.ok(&["get", "deploy", "web"]).contains("0/3"));
    assert!(kubectl.ok(&["describe", "deploy", "web"]).contains("3 desired"));
    kubectl.ok(&["patch", "deploy", "web", "-p", r#"{"spec":{"replicas":0}}"#]);
    assert_eq!(kubectl.ok(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]), "0");
    assert!(kubectl.ok(&["get", "pods,svc,deploy,cm,secret,sa,nodes,ns", "-A"]).contains("deployment.apps/web"));
    assert!(kubectl.ok(&["api-resources"]).contains("deployments"));
    assert!(kubectl.ok(&["auth", "can-i", "--list"]).contains("*.*"));
    let wrong = DEPLOYMENT.replace("replicas: 2", "replica: 2");
    let refused = kubectl.run_with(&["create", "-f", "-"], &wrong);
    assert!(refused.code != 0 && refused.stderr.contains("unknown field \"replica\""), "{}", refused.stderr);
    kubectl.ok(&["run", "p", "--image=busybox:1"]);
    kubectl.ok(&["delete", "pod/p", "deploy/web", "--now"]);
    let rejected = kubectl.fails(&["get", "pods", "--as=stranger"]);
    assert!(rejected.contains("forbidden"), "{rejected}");
}

/// A browser of clusters lists and watches every kind there is, all at once.
#[tokio::test]
async fn everything_can_be_listed_and_watched_at_once() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let kinds = kubectl.ok(&["api-resources", "--verbs=list,watch", "-o", "name"]);
    let kinds: Vec<&str> = kinds.lines().collect();
    assert!(kinds.len() > 50, "{kinds:?}");
    let everything = kinds.join(",");
    let listed = kubectl.ok(&["get", &everything, "-A", "-o", "name"]);
    assert!(listed.contains("namespace/default") && listed.contains("service/kubernetes"), "{listed}");
    let admin = server.admin();
    let mut watches = Vec::new();
    for row in api::resources().iter().filter(|row| row.is_stored()) {
        let path = examples::collection(row, "default");
        let path = path.replace("/namespaces/default", "");
        let path =
            format!("{path}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        watches.push((row.kind, harness::EventStream::open(&admin, &path).await));
    }
    for (kind, watch) in &mut watches {
        loop {
            let event = watch.next().await.unwrap();
            let annotations = &event["object"]["metadata"]["annotations"];
            if event["type"] == "BOOKMARK" && annotations["k8s.io/initial-events-end"] == "true" {
                break;
            }
            assert_eq!(event["type"], "ADDED", "{kind}: {event}");
        }
    }
}

/// `kubectl proxy` and `kubectl get --raw` are how scripts reach the API.
#[tokio::test]
async fn kubectl_proxy_hands_on_every_answer() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let mut command = kubectl.command(&["proxy", "--port=0"]);
    let mut proxy = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(proxy.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let answer = reqwest::get(format!("http://{address}/api/v1/namespaces/default")).await.unwrap();
    assert!(answer.text().await.unwrap().contains("\"name\":\"default\""));
    end(proxy);
    let _ = output.read_to_string(&mut line);
}

#[tokio::test]
async fn kubectl_asks_how_the_components_are() {
    let server = server().await;
    let Some(kubectl) = kubectl(&server) else { return };
    let all = kubectl.ok(&["get", "cs"]);
    let line = |name: &str| all.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{all}"));
    assert!(line("NAME").contains("STATUS") && line("etcd-0").contains("Healthy"), "{all}");
    // Whether anybody serves those ports on this machine is none of the test's business.
    assert!(line("scheduler").contains("ealthy") && line("controller-manager").contains("ealthy"), "{all}");
    let etcd = json(&kubectl.ok(&["get", "cs", "etcd-0", "-o", "json"]));
    assert_eq!(etcd["conditions"][0]["status"], "True", "{etcd}");
    let selected = kubectl.ok(&["get", "cs", "--field-selector=metadata.name=etcd-0", "-o", "name"]);
    assert_eq!(selected, "componentstatus/etcd-0\n");
    assert!(kubectl.fails(&["get", "cs", "nobody"]).contains("NotFound"));
}
