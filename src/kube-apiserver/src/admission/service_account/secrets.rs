//! Which secrets a pod refers to that its service account does not name.

use apimachinery::{Object, Value};

/// The first secret of a pod that is not one of its account, as a complaint.
pub(super) fn foreign(pod: &Object, account: &Object) -> Option<String> {
    let named = |list: &[&str]| -> Vec<String> {
        account.list_at(list).iter().map(|secret| secret.str("name").to_owned()).collect()
    };
    let (mountable, pulling) = (named(&["secrets"]), named(&["imagePullSecrets"]));
    let account = account.name();
    let not_ours = |name: &str| !mountable.iter().any(|own| own == name);
    let suffix = format!("is not allowed because service account {account} does not reference that secret");
    for volume in pod.list_at(&["spec", "volumes"]) {
        let name = volume.at(&["secret", "secretName"]).and_then(Value::as_str);
        if let Some(name) = name.filter(|name| not_ours(name)) {
            return Some(format!("volume with secret.secretName=\"{name}\" {suffix}"));
        }
    }
    for (list, what) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in pod.list_at(&["spec", list]) {
            for env in container.list("env") {
                let name = env.at(&["valueFrom", "secretKeyRef", "name"]).and_then(Value::as_str);
                if let Some(name) = name.filter(|name| not_ours(name)) {
                    return Some(format!(
                        "{what} {} with envVar {} referencing secret.secretName=\"{name}\" {suffix}",
                        container.str("name"),
                        env.str("name")
                    ));
                }
            }
            for from in container.list("envFrom") {
                let name = from.at(&["secretRef", "name"]).and_then(Value::as_str);
                if let Some(name) = name.filter(|name| not_ours(name)) {
                    return Some(format!(
                        "{what} {} with envFrom referencing secret.secretName=\"{name}\" {suffix}",
                        container.str("name")
                    ));
                }
            }
        }
    }
    let pulls = pod.list_at(&["spec", "imagePullSecrets"]).iter().enumerate();
    let mut foreign = pulls.filter(|(_, secret)| !pulling.iter().any(|own| own == secret.str("name")));
    let (index, secret) = foreign.next()?;
    Some(format!(
        "imagePullSecrets[{index}].name=\"{}\" is not allowed because service account {account} does not reference \
         that imagePullSecret",
        secret.str("name")
    ))
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    #[test]
    fn an_account_names_the_secrets_its_pods_may_use() {
        let object = |tree| Object::try_from(tree).unwrap();
        let account = object(
            value!({"metadata": {"name": "a"}, "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]}),
        );
        let check = |spec: Value, expected: Option<&str>| {
            let seen = foreign(&object(value!({"spec": (spec)})), &account);
            assert_eq!(seen.as_deref(), expected);
        };
        check(value!({"volumes": [{"secret": {"secretName": "own"}}], "imagePullSecrets": [{"name": "pull"}]}), None);
        check(
            value!({"volumes": [{"secret": {"secretName": "x"}}]}),
            Some(
                "volume with secret.secretName=\"x\" is not allowed because service account a does not reference that secret",
            ),
        );
        check(
            value!({"initContainers": [{"name": "i", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "x"}}}]}]}),
            Some(
                "init container i with envVar E referencing secret.secretName=\"x\" is not allowed because service account a does not reference that secret",
            ),
        );
        check(
            value!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}]}),
            Some(
                "container c with envFrom referencing secret.secretName=\"x\" is not allowed because service account a does not reference that secret",
            ),
        );
        check(
            value!({"imagePullSecrets": [{"name": "pull"}, {"name": "x"}]}),
            Some(
                "imagePullSecrets[1].name=\"x\" is not allowed because service account a does not reference that imagePullSecret",
            ),
        );
    }
}
