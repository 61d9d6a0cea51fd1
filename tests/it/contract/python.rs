//! The Python client: the whole life of objects, watches and the dynamic client.

use harness::{Client, ClientProgram};

use crate::server;

const LIFE: &str = r#"
import kubernetes
from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
maps = [client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"m{n}", labels={"n": str(n % 2)}), data={"n": str(n)}) for n in range(7)]
for each in maps:
    core.create_namespaced_config_map("default", each)
page = core.list_namespaced_config_map("default", limit=3)
assert len(page.items) == 3 and page.metadata.remaining_item_count == 4, page.metadata
seen = [m.metadata.name for m in page.items]
while page.metadata._continue:
    page = core.list_namespaced_config_map("default", limit=3, _continue=page.metadata._continue)
    seen += [m.metadata.name for m in page.items]
assert seen == [f"m{n}" for n in range(7)], seen
assert len(core.list_namespaced_config_map("default", label_selector="n=1").items) == 3
assert core.list_config_map_for_all_namespaces(field_selector="metadata.name=m3").items[0].data == {"n": "3"}

events = watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=30)
names = {next(events)["object"].metadata.name for _ in range(7)}
assert len(names) == 7, names
core.patch_namespaced_config_map("m0", "default", {"data": {"new": "1"}})
event = next(events)
assert (event["type"], event["object"].data) == ("MODIFIED", {"n": "0", "new": "1"}), event
core.delete_namespaced_config_map("m0", "default")
assert next(events)["type"] == "DELETED"

container = client.V1Container(name="c", image="c:1", resources=client.V1ResourceRequirements(requests={"cpu": "100m"}))
template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"a": "b"}), spec=client.V1PodSpec(containers=[container]))
spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template, replicas=0)
made = apps.create_namespaced_deployment("default", client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
assert made.spec.replicas == 0 and made.spec.template.spec.containers[0].resources.requests == {"cpu": "100m"}
stale = apps.read_namespaced_deployment("d", "default")
stale.spec.replicas = 2
apps.replace_namespaced_deployment("d", "default", stale)
try:
    apps.replace_namespaced_deployment("d", "default", stale)
    raise SystemExit("a stale update was taken")
except ApiException as error:
    assert error.status == 409, error
scale = apps.read_namespaced_deployment_scale("d", "default")
assert scale.spec.replicas == 2
scale.spec.replicas = 3
apps.replace_namespaced_deployment_scale("d", "default", scale)
status = apps.read_namespaced_deployment("d", "default")
status.status.replicas = 3
assert apps.replace_namespaced_deployment_status("d", "default", status).status.replicas == 3

everything = dynamic.DynamicClient(client.ApiClient())
deployments = everything.resources.get(api_version="apps/v1", kind="Deployment")
assert deployments.get(name="d", namespace="default").spec.replicas == 3
body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"by": "apply"}}}
applied = deployments.server_side_apply(body=body, name="d", namespace="default", field_manager="python", force_conflicts=True)
assert applied.metadata.labels.by == "apply", applied
groups = {api.name for api in client.ApisApi().get_api_versions().groups}
assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups, groups
assert client.VersionApi().get_code().major == "1"
review = client.AuthorizationV1Api().create_self_subject_access_review(client.V1SelfSubjectAccessReview(
    spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods"))))
assert review.status.allowed
token = core.create_namespaced_service_account_token
core.create_namespaced_service_account("default", client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
answer = token("robot", "default", client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)))
assert answer.status.token.count(".") == 2
deleted = core.delete_collection_namespaced_config_map("default", label_selector="n=1")
assert len(core.list_namespaced_config_map("default").items) == 3
print("all of it works")
"#;

#[tokio::test]
async fn the_python_client_works_unmodified() {
    let server = server().await;
    let Some(python) = Client::of(ClientProgram::Python, &server) else { return };
    let script = server.write("life.py", LIFE);
    assert!(python.ok(&[script.to_str().unwrap()]).contains("all of it works"));
}
