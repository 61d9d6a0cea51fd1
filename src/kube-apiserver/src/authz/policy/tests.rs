use super::*;
use crate::authz::{Attributes, Authorizer};
use crate::user::User;

fn authorizer() -> Authorizer {
    let authorizer = Authorizer::new(&["Node".into(), "RBAC".into()]);
    for object in objects() {
        authorizer.rbac.put(&object);
    }
    authorizer
}

#[test]
fn policy_is_read_whole_and_its_bindings_find_their_roles() {
    let objects = objects();
    let roles: HashSet<(String, String)> = objects
        .iter()
        .filter(|object| object.kind().ends_with("Role"))
        .map(|role| (role.namespace().to_owned(), role.name().to_owned()))
        .collect();
    for binding in objects.iter().filter(|object| object.kind().ends_with("Binding")) {
        let reference = rbac::role_ref_of(binding);
        let namespace = if reference.kind == "Role" { binding.namespace() } else { "" };
        assert!(roles.contains(&(namespace.to_owned(), reference.name.clone())), "{}", binding.name());
    }
    let names: HashSet<String> =
        objects.iter().map(|object| format!("{} {}/{}", object.kind(), object.namespace(), object.name())).collect();
    assert_eq!(names.len(), objects.len(), "no object stands twice");
    let empty: Vec<&str> = objects
        .iter()
        .filter(|object| object.kind().ends_with("Role") && object.list_at(&["rules"]).is_empty())
        .map(Object::name)
        .collect();
    assert!(empty.is_empty(), "{empty:?}");
}

#[test]
fn built_in_users_may_do_their_work_and_no_more() {
    let authorizer = authorizer();
    let scheduler = User::new("system:kube-scheduler", ["system:authenticated"]);
    let manager = User::new("system:kube-controller-manager", ["system:authenticated"]);
    let gc = User::new("system:serviceaccount:kube-system:generic-garbage-collector", ["system:serviceaccounts"]);
    let admin = User::new("kubernetes-admin", ["kubeadm:cluster-admins", "system:authenticated"]);
    let nobody = User::anonymous();
    let anybody = User::new("x", ["system:authenticated"]);
    let table = [
        (&scheduler, "create", "", "pods/binding", true),
        (&scheduler, "delete", "", "nodes", false),
        (&scheduler, "get", "", "secrets", false),
        (&manager, "create", "", "serviceaccounts/token", true),
        (&manager, "delete", "", "pods", false),
        (&gc, "delete", "example.com", "widgets", true),
        (&gc, "create", "", "pods", false),
        (&admin, "delete", "", "nodes", true),
        (&nobody, "get", "", "pods", false),
        (&anybody, "create", "authorization.k8s.io", "selfsubjectaccessreviews", true),
        (&anybody, "list", "", "pods", false),
    ];
    for (user, verb, group, full, allowed) in table {
        let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
        let asked = Attributes { subresource, name: "x", ..Attributes::resource(user, verb, (group, resource)) };
        assert_eq!(authorizer.authorize(&asked).allowed, allowed, "{} {verb} {full}", user.name);
    }
}

#[test]
fn anonymous_users_see_health_and_version_only() {
    let authorizer = authorizer();
    let nobody = User::anonymous();
    for (path, allowed) in [
        ("/healthz", true),
        ("/livez", true),
        ("/readyz", true),
        ("/version", true),
        ("/api", false),
        ("/apis", false),
        ("/metrics", false),
        ("/healthz/etcd", false),
        ("/openapi/v2", false),
        ("/openid/v1/jwks", false),
    ] {
        let asked = Attributes { is_resource: false, path, ..Attributes::resource(&nobody, "get", ("", "")) };
        assert_eq!(authorizer.authorize(&asked).allowed, allowed, "{path}");
    }
}

#[test]
fn aggregated_roles_work_before_a_controller_runs() {
    let objects = objects();
    let count = |name: &str| {
        let role = objects.iter().find(|role| role.kind() == "ClusterRole" && role.name() == name).unwrap();
        role.list_at(&["rules"]).len()
    };
    assert!(count("view") > 5 && count("edit") > count("view") && count("admin") > count("edit"));
}

#[test]
fn repair_adds_what_is_missing_and_respects_its_owner() {
    let all = objects();
    let find =
        |kind: &str, name: &str| all.iter().find(|object| object.kind() == kind && object.name() == name).unwrap();
    let wanted = find("ClusterRole", "system:kube-scheduler");
    assert_eq!(reconcile(wanted, wanted), Repair::Nothing);
    let mut less = wanted.clone();
    less.set_at(&["rules"], Value::List(vec![]));
    let Repair::Update(repaired) = reconcile(&less, wanted) else { panic!("must be repaired") };
    assert_eq!(reconcile(&repaired, wanted), Repair::Nothing);
    less.set_annotation(AUTOUPDATE, "false");
    assert_eq!(reconcile(&less, wanted), Repair::Nothing);
    let binding = find("ClusterRoleBinding", "cluster-admin");
    let mut other = binding.clone();
    other.set_at(&["subjects"], Value::List(vec![]));
    assert!(matches!(reconcile(&other, binding), Repair::Update(_)));
    other.set_at(&["roleRef", "name"], "view");
    assert_eq!(reconcile(&other, binding), Repair::Replace);
}
