//! Mistakes that other implementations of the API made and found, and the test that holds each of them off.
//!
//! The list comes from a study of peers: what they fixed, what red teams found in them, what their conformance runs
//! could not see. Each line names a behaviour and where it is tested; a name that leads nowhere fails.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use harness::core;
use serde_json::{Value, json};

use crate::server;

/// A mistake and the test that would find it: the file and the function.
type Row = (&'static str, &'static str, &'static str);

/// Found by peers in their own security reviews.
const SECURITY: &[Row] = &[
    (
        "a cache of verified tokens keyed by signature lets claims be forged",
        "trust",
        "tokens_that_are_expired_forged_or_garbage_open_nothing",
    ),
    ("nodes may do everything because no Node authorizer is there", "trust", "a_node_reaches_only_what_its_pods_need"),
    ("an empty bearer token is somebody", "trust", "an_empty_token_is_nobody"),
    ("bind and escalate are mixed up", "trust", "binding_and_escalating_are_different_rights"),
    ("roles are written without a check of what they grant", "trust", "binding_and_escalating_are_different_rights"),
    (
        "pods/* covers more than subresources of pods, */scale covers nothing",
        "trust",
        "rules_for_subresources_mean_what_they_say",
    ),
    ("line ends in a port-forward request smuggle another one", "trust", "line_ends_in_names_do_not_reach_a_kubelet"),
    ("status.podIP leads the proxy to any address", "trust", "a_pod_cannot_lead_the_proxy_to_forbidden_addresses"),
    ("a token outlives its account", "trust", "tokens_that_are_expired_forged_or_garbage_open_nothing"),
    ("impersonation headers are ignored", "trust", "impersonation_is_a_right_and_is_obeyed"),
    (
        "the parser of untrusted text recurses without end",
        "bad_input",
        "bodies_that_are_not_well_formed_are_bad_requests",
    ),
    ("strangers read metrics or versions of objects", "discovery", "health_version_and_metrics_have_upstreams_words"),
];

/// Found by peers in their storage, watch and list paths.
const TRUTH: &[Row] = &[
    ("pages of one list come from different revisions", "lists", "pages_are_pinned_while_others_write"),
    ("a token dies with compaction and says nothing", "lists", "a_token_whose_history_is_gone_comes_with_another_one"),
    ("remainingItemCount is missing", "lists", "every_page_size_shows_the_whole_collection_once"),
    ("lists are cut at 500", "lists", "large_collections_are_not_cut"),
    (
        "an object that cannot be decoded is silently missing",
        "store_faults",
        "an_object_that_cannot_be_read_is_not_silently_missing",
    ),
    ("unconditional updates race and lose writes", "store_faults", "writes_without_a_version_do_not_lose_each_other"),
    ("deletes have no precondition", "every_kind", "every_kind_lives_its_life"),
    ("a watch from a compacted version is deaf", "watches", "what_is_too_old_is_told_so_and_the_client_recovers"),
    ("a watch of one name gets a false 410", "watches", "what_is_too_old_is_told_so_and_the_client_recovers"),
    ("an idle ring trims itself into endless 410s", "watches", "what_is_too_old_is_told_so_and_the_client_recovers"),
    ("a bookmark is ahead of the events", "watches", "bookmarks_are_never_ahead_of_what_was_told"),
    ("a list does not show the caller's own write", "store_faults", "every_list_shows_the_callers_own_writes"),
    ("a watch without a version lacks the initial state", "watches", "old_paths_of_watches_still_lead_there"),
    ("selector watches lack ADDED and DELETED", "watches", "objects_come_into_and_go_out_of_a_selection"),
    ("items of lists have no resourceVersion", "every_field", "what_is_in_etcd_reaches_every_client_whole"),
    ("a write that changes nothing makes a new version", "every_kind", "every_kind_lives_its_life"),
    ("an error in the middle leaves the store locked", "store_faults", "a_failed_write_blocks_nobody"),
    ("a field selector on an absent field matches nothing", "lists", "field_selectors_look_at_what_they_name"),
    ("two writers get the same cluster IP or node port", "store_faults", "no_address_is_given_twice_however_many_ask"),
    ("quotas are checked outside the write", "store_faults", "a_quota_holds_however_many_ask"),
];

/// Found by peers in their object model and codecs.
const OBJECTS: &[Row] = &[
    ("fields of hand-written types are lost", "every_field", "what_is_accepted_on_create_is_kept"),
    ("structs embedded inline are lost in protobuf", "every_field", "what_is_in_etcd_reaches_every_client_whole"),
    (
        "a CRD sent as protobuf loses x-kubernetes-* and $ref",
        "every_field",
        "what_is_in_etcd_reaches_every_client_whole",
    ),
    (
        "a protobuf create stores an empty namespace",
        "negotiation",
        "a_client_of_protobuf_is_answered_in_protobuf_whatever_happens",
    ),
    ("zero in a pointer field vanishes", "every_kind", "scales_are_read_and_written_for_every_workload"),
    (
        "generateName is ignored",
        "every_kind",
        "every_kind_takes_dry_runs_generated_names_watches_and_collective_deletes",
    ),
    ("PUT creates objects", "objects", "a_put_of_what_is_not_there_creates_nothing"),
    (
        "status is lost by a PUT of the object, spec by one of the status",
        "objects",
        "no_put_of_one_half_loses_the_other",
    ),
    (
        "initial events lack defaults that upstream's clients rely on",
        "objects",
        "every_way_of_reading_shows_the_defaults_clients_rely_on",
    ),
    ("q-values and 406 are ignored", "negotiation", "the_best_form_that_both_know_is_taken"),
    ("versions of Table are not checked", "negotiation", "tables_and_partial_objects_have_their_versions"),
    ("metadata-only lists cost more than whole ones", "negotiation", "tables_and_partial_objects_have_their_versions"),
    ("apply guesses the keys of lists", "server_side_apply", "lists_are_merged_by_their_keys"),
    ("server-side apply is put off", "server_side_apply", "fields_are_owned_shared_taken_and_given_up"),
    ("kubectl explain has nothing to say", "kubectl", "kubectl_explains_every_kind_with_its_fields"),
    ("attach and binding are missing", "discovery", "both_kinds_of_discovery_tell_the_same"),
    ("an empty status is absent, and typed clients fall over it", "python", "the_python_client_works_unmodified"),
    ("namespaces end and leave role bindings active", "trust", "a_binding_that_is_gone_gives_nothing_any_more"),
];

/// Found by peers in other parts than the API: the file of the test, from the root of the repository, and the test.
const ELSEWHERE: &[Row] = &[
    (
        "webhooks are called on dry runs whatever their sideEffects say",
        "tests/it/contract/peer_bugs.rs",
        "webhooks_are_called_by_nobody_and_the_server_says_so",
    ),
    (
        "errors of matchConditions ignore failurePolicy",
        "tests/it/contract/peer_bugs.rs",
        "webhooks_are_called_by_nobody_and_the_server_says_so",
    ),
    ("keys of custom resources lack the group", "src/api/src/lib.rs", "no_path_and_no_etcd_folder_is_used_twice"),
    (
        "flushing nftables drops connections",
        "src/kube-proxy/tests/netns.rs",
        "connections_reach_endpoints_and_survive_changes",
    ),
    (
        "DNS is the first to die under pressure",
        "tests/it/contract/peer_bugs.rs",
        "dns_has_a_priority_and_what_it_needs_is_set_aside",
    ),
    (
        "no kube-root-ca.crt in namespaces",
        "src/kube-controller-manager/src/controllers/root_ca.rs",
        "a_missing_map_is_made_and_a_changed_one_put_right",
    ),
    (
        "the scheduler ignores taints",
        "src/kube-scheduler/src/plugins/taint_toleration.rs",
        "a_taint_needs_its_toleration",
    ),
    (
        "there is no audit log",
        "src/kube-apiserver/tests/it/audit.rs",
        "requests_are_told_as_closely_as_the_policy_says",
    ),
];

#[test]
fn every_known_mistake_of_peers_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let here = [SECURITY, TRUTH, OBJECTS].concat();
    let here = here.into_iter().map(|(mistake, file, test)| (mistake, format!("tests/it/contract/{file}.rs"), test));
    let elsewhere = ELSEWHERE.iter().map(|(mistake, file, test)| (*mistake, (*file).to_owned(), *test));
    for (mistake, file, test) in here.chain(elsewhere) {
        let text = std::fs::read_to_string(root.join(&file)).unwrap_or_else(|_| panic!("{mistake}: no {file}"));
        assert!(is_test(&text, test), "{mistake}: the test {test} is not in {file}");
    }
}

/// Whether a source has a function of this name that is run as a test.
fn is_test(source: &str, name: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {name}()")) else { return false };
    let lines = before.lines().rev().skip(usize::from(!before.ends_with('\n')));
    let mut attributes = lines.take_while(|line| line.trim_start().starts_with("#["));
    attributes.any(|line| matches!(line.trim(), "#[test]") || line.trim().starts_with("#[tokio::test"))
}

#[test]
fn only_what_is_run_counts_as_a_test() {
    assert!(is_test("#[test]\nfn a() {}", "a"));
    assert!(is_test("    #[tokio::test(start_paused = true)]\n    async fn a() {}", "a"));
    assert!(is_test("#[test]\n#[ignore]\nfn a() {}", "a"));
    assert!(!is_test("#[test]\nfn b() {}\nfn a() {}", "a"));
    assert!(!is_test("// fn a", "a"));
}

/// They come with custom resources. What is called by nobody is called by nobody on a dry run either, and nothing fails
/// with it; whoever counts on it is told.
#[tokio::test]
async fn webhooks_are_called_by_nobody_and_the_server_says_so() {
    let server = server().await;
    let admin = server.admin();
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    hook.set_nonblocking(true).unwrap();
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let webhook = |side: &str| {
        json!({"metadata": {"name": "hook"}, "webhooks": [{
            "name": "hook.example.com", "sideEffects": side, "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": {"url": format!("https://127.0.0.1:{}/", hook.local_addr().unwrap().port())},
            "matchConditions": [{"name": "wrong", "expression": "object.none.such"}],
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        }]})
    };
    assert!(admin.create(path, &webhook("Some")).await.failed(422).contains("sideEffects"));
    let made = admin.create(path, &webhook("NoneOnDryRun")).await;
    assert!(made.warnings().iter().any(|warning| warning.contains("webhook")), "{:?}", made.warnings());
    made.ok();
    let map = json!({"metadata": {"name": "c"}});
    admin.create(&core("configmaps?dryRun=All"), &map).await.ok();
    admin.create(&core("configmaps"), &map).await.ok();
    assert_eq!(hook.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody has called");
}

/// What a cluster is given is held against these files by a test of its own.
#[test]
fn dns_has_a_priority_and_what_it_needs_is_set_aside() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let folders = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let manifests: Vec<_> = folders.map(|path| path.join("addons/Deployment-cluster-dns.json")).collect();
    let mut seen = 0;
    for path in manifests.iter().filter(|path| path.exists()) {
        let dns: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let pod = &dns["spec"]["template"]["spec"];
        assert_eq!(pod["priorityClassName"], "system-cluster-critical", "{}", path.display());
        for resource in ["cpu", "memory"] {
            let set_aside = &pod["containers"][0]["resources"]["requests"][resource];
            assert!(set_aside.is_string(), "{}: {resource}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 0, "no manifest of DNS is there");
}
