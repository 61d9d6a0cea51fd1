use super::*;
use apimachinery::value;

fn defaulted(spec: Value) -> Map {
    let Value::Map(mut spec) = spec else { panic!("a map") };
    fill_pod_spec(&mut spec);
    spec
}

fn errors(spec: Value) -> Vec<String> {
    let mut errors = Errors::new();
    check_spec(&mut errors, &Path::new("spec"), &defaulted(spec));
    errors.iter().map(ToString::to_string).collect()
}

fn container_errors(extra: Value) -> Vec<String> {
    let mut container = value!({"name": "c", "image": "i"});
    if let (Value::Map(container), Value::Map(extra)) = (&mut container, extra) {
        container.extend(extra);
    }
    errors(value!({"containers": [container], "volumes": [{"name": "v"}]}))
}

#[test]
fn the_smallest_pod_becomes_whole() {
    let spec = defaulted(value!({"containers": [{"name": "c", "image": "nginx"}], "volumes": [{"name": "v"}]}));
    assert_eq!(
        Value::Map(spec),
        value!({
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        })
    );
}

#[test]
fn only_the_latest_image_is_always_pulled() {
    let check = |image: &str, expected: &str| {
        let spec = defaulted(value!({"containers": [{"image": image}]}));
        let policy = Value::Map(spec).at(&["containers", "0", "imagePullPolicy"]).cloned();
        assert_eq!(policy, Some(Value::from(expected)), "{image}");
    };
    check("nginx", "Always");
    check("nginx:latest", "Always");
    check("nginx:1.2", "IfNotPresent");
    check("localhost:5000/nginx", "Always");
    check("localhost:5000/nginx:1", "IfNotPresent");
    check("nginx@sha256:abc", "IfNotPresent");
}

#[test]
fn probes_ports_and_volumes_get_their_defaults() {
    let spec = Value::Map(defaulted(value!({
        "containers": [{
            "ports": [{"containerPort": 80}],
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        }],
        "volumes": [
            {"name": "a", "configMap": {"name": "c"}},
            {"name": "b", "hostPath": {"path": "/x"}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ],
        "serviceAccountName": "sa",
    })));
    let check = |path: &[&str], expected: Value| assert_eq!(spec.at(path), Some(&expected), "{path:?}");
    check(&["containers", "0", "ports", "0", "protocol"], value!("TCP"));
    check(&["containers", "0", "env", "0", "valueFrom", "fieldRef", "apiVersion"], value!("v1"));
    check(
        &["containers", "0", "livenessProbe"],
        value!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 5, "timeoutSeconds": 1,
            "successThreshold": 1, "failureThreshold": 3,
        }),
    );
    check(&["volumes", "0", "configMap", "defaultMode"], value!(420));
    check(&["volumes", "1", "hostPath", "type"], value!(""));
    check(&["volumes", "2", "projected", "defaultMode"], value!(420));
    check(&["volumes", "2", "projected", "sources", "0", "serviceAccountToken", "expirationSeconds"], value!(3600));
    check(&["serviceAccount"], value!("sa"));
}

#[test]
fn containers_are_checked_in_upstreams_words() {
    let check = |extra: Value, expected: &[&str]| assert_eq!(container_errors(extra), expected);
    check(value!({}), &[]);
    check(value!({"image": ""}), &["spec.containers[0].image: Required value"]);
    check(value!({"name": ""}), &["spec.containers[0].name: Required value"]);
    check(
        value!({"imagePullPolicy": "Sometimes"}),
        &[
            r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#,
        ],
    );
    check(
        value!({"ports": [{"containerPort": 0}, {"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]}),
        &[
            "spec.containers[0].ports[0].containerPort: Required value",
            r#"spec.containers[0].ports[2].name: Duplicate value: "a""#,
        ],
    );
    check(
        value!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a", "subPath": "../x"}]}),
        &[
            r#"spec.containers[0].volumeMounts[1].name: Not found: "w""#,
            r#"spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
            r#"spec.containers[0].volumeMounts[1].subPath: Invalid value: "../x": must not contain '..'"#,
        ],
    );
    check(
        value!({"resources": {"requests": {"cpu": "2", "memory": "-1"}, "limits": {"cpu": "1500m"}}}),
        &[
            r#"spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m"#,
        ],
    );
    check(
        value!({"livenessProbe": {}, "readinessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}),
        &[
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ],
    );
    check(
        value!({"env": [{"name": ""}, {"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        &[
            "spec.containers[0].env[0].name: Required value",
            r#"spec.containers[0].env[1].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#,
        ],
    );
}

#[test]
fn pods_are_checked_in_upstreams_words() {
    let check = |spec: Value, expected: &[&str]| assert_eq!(errors(spec), expected);
    check(value!({}), &["spec.containers: Required value"]);
    let one = value!([{"name": "c", "image": "i"}]);
    let with = |key: &str, field: Value| {
        let mut spec = value!({"containers": (one.clone())});
        spec.set_at(&[key], field);
        spec
    };
    check(
        with("restartPolicy", value!("X")),
        &[r#"spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never""#],
    );
    check(
        with("volumes", value!([{"name": "a"}, {"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}])),
        &[
            r#"spec.volumes[1].name: Duplicate value: "a""#,
            "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
        ],
    );
    check(
        with("initContainers", value!([{"name": "c", "image": "i", "readinessProbe": {"exec": {"command": ["x"]}}}])),
        &[
            r#"spec.initContainers[0].name: Duplicate value: "c""#,
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    check(
        with(
            "tolerations",
            value!([{"operator": "Equal"}, {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]),
        ),
        &[
            r#"spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
        ],
    );
    check(
        with(
            "topologySpreadConstraints",
            value!([{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
        ),
        &["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
    );
    check(
        with(
            "affinity",
            value!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
        ),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ],
    );
    check(
        with("terminationGracePeriodSeconds", value!(-1)),
        &["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"],
    );
}
