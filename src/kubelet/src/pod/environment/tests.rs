use serde_json::json;

use super::*;
use crate::pod::sandbox::tests::pod;

fn objects() -> Objects {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "my-db", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
    }))
    .unwrap();
    let config_map: ConfigMap = serde_json::from_value(json!({"data": {"A": "from map", "B": "b"}})).unwrap();
    let secret: Secret = serde_json::from_value(json!({"data": {"token": "czNjcmV0"}})).unwrap();
    Objects {
        config_maps: [("map".to_owned(), Arc::new(config_map))].into(),
        secrets: [("secret".to_owned(), Arc::new(secret))].into(),
        services: vec![Arc::new(service)],
    }
}

#[expect(clippy::needless_pass_by_value, reason = "tests write the container in place")]
fn compute(container: serde_json::Value) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let pod = pod(json!({"containers": [container], "nodeName": "n1"}));
    let variables = environment(&pod, &identity::containers(&pod)[0], &objects(), &Facts::default())?;
    Ok(variables.into_iter().map(|variable| (variable.key, variable.value)).collect())
}

#[test]
fn values_come_from_everywhere_and_later_ones_win() {
    let variables = compute(json!({
        "name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "map"}}, {"configMapRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "P_A", "value": "own"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "token"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "none", "optional": true}}},
            {"name": "ALL", "value": "$(P_A) $(P_B) $(MY_DB_SERVICE_HOST) $(UNKNOWN)"},
        ],
    }))
    .unwrap();
    assert_eq!(variables["P_A"], "own");
    assert_eq!(variables["NODE"], "n1");
    assert_eq!(variables["TOKEN"], "s3cret");
    assert!(!variables.contains_key("NONE"));
    assert_eq!(variables["ALL"], "own b 10.96.0.7 $(UNKNOWN)");
}

#[test]
fn services_are_told_as_docker_links_were() {
    let variables = compute(json!({"name": "c"})).unwrap();
    let expected = [
        ("MY_DB_SERVICE_HOST", "10.96.0.7"),
        ("MY_DB_SERVICE_PORT", "5432"),
        ("MY_DB_SERVICE_PORT_SQL", "5432"),
        ("MY_DB_PORT", "tcp://10.96.0.7:5432"),
        ("MY_DB_PORT_5432_TCP", "tcp://10.96.0.7:5432"),
        ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
        ("MY_DB_PORT_5432_TCP_PORT", "5432"),
        ("MY_DB_PORT_5432_TCP_ADDR", "10.96.0.7"),
    ];
    assert_eq!(variables.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(variables[name], value, "{name}");
    }
}

#[test]
fn absent_objects_and_keys_are_named() {
    let missing = compute(json!({"name": "c", "envFrom": [{"secretRef": {"name": "gone"}}]})).unwrap_err();
    assert_eq!(missing.to_string(), "secret \"gone\" not found");
    let key = compute(
        json!({"name": "c", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "Z"}}}]}),
    )
    .unwrap_err();
    assert_eq!(key.to_string(), "couldn't find key Z in ConfigMap shop/map");
}
