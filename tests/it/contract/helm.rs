//! helm installs, upgrades, rolls back and uninstalls a chart.

use harness::{ApiServer, Client, ClientProgram};

use crate::server;

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 0.1.0\nappVersion: '1'\n";

const TEMPLATES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {app.kubernetes.io/managed-by: {{ .Release.Service }}}
data:
  greeting: {{ .Values.greeting | quote }}
  capable: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: shop, image: 'shop:1'}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name }}}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: {{ .Release.Name }}}
spec:
  schedule: '0 * * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'c:1'}]}}}}
"#;

fn chart(server: &ApiServer) -> String {
    let folder = server.path("shop");
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), CHART).unwrap();
    std::fs::write(folder.join("values.yaml"), "greeting: hello\nreplicas: 0\n").unwrap();
    std::fs::write(folder.join("templates/all.yaml"), TEMPLATES).unwrap();
    folder.display().to_string()
}

#[tokio::test]
async fn a_chart_is_installed_upgraded_rolled_back_and_uninstalled() {
    let server = server().await;
    let Some(helm) = Client::of(ClientProgram::Helm, &server) else { return };
    let (chart, admin) = (chart(&server), server.admin());
    let map = harness::core("configmaps/one");
    helm.ok(&["install", "one", &chart]);
    let first = admin.get(&map).await.ok();
    assert_eq!((&first["data"]["greeting"], &first["data"]["capable"]), (&"hello".into(), &"true".into()));
    let listed = helm.ok(&["list", "-o", "json"]);
    assert!(listed.contains("\"status\":\"deployed\""), "{listed}");
    helm.ok(&["upgrade", "one", &chart, "--set", "greeting=bye"]);
    assert_eq!(admin.get(&map).await.ok()["data"]["greeting"], "bye");
    let history = helm.ok(&["history", "one", "-o", "json"]);
    assert!(history.contains("\"revision\":2"), "{history}");
    helm.ok(&["rollback", "one", "1"]);
    assert_eq!(admin.get(&map).await.ok()["data"]["greeting"], "hello");
    assert!(helm.ok(&["get", "manifest", "one"]).contains("kind: CronJob"));
    assert!(helm.ok(&["status", "one"]).contains("STATUS: deployed"));
    let again = helm.fails(&["install", "one", &chart]);
    assert!(again.contains("cannot re-use a name") || again.contains("in use"), "{again}");
    helm.ok(&["uninstall", "one"]);
    assert_eq!(admin.get(&map).await.code, 404);
    assert_eq!(admin.get("/apis/apps/v1/namespaces/default/deployments/one").await.code, 404);
    let secrets = admin.get(&harness::core("secrets?labelSelector=owner%3Dhelm")).await;
    assert!(secrets.names().is_empty(), "no release is left behind: {:?}", secrets.names());
}

#[tokio::test]
async fn a_chart_is_checked_against_the_server_before_anything_is_made() {
    let server = server().await;
    let Some(helm) = Client::of(ClientProgram::Helm, &server) else { return };
    let chart = chart(&server);
    let dry = helm.ok(&["install", "one", &chart, "--dry-run=server"]);
    assert!(dry.contains("capable: \"true\""), "{dry}");
    let taken = serde_json::json!({"metadata": {"name": "one"}});
    server.admin().create(&harness::core("configmaps"), &taken).await.ok();
    let refused = helm.fails(&["install", "one", &chart]);
    assert!(refused.contains("exists and cannot be imported"), "{refused}");
    assert_eq!(server.admin().get(&harness::core("serviceaccounts/one")).await.code, 404, "nothing was made");
}
