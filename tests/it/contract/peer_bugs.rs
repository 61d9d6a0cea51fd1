//! Mistakes that other implementations of the API made and found, and the test that holds each of them off.
//!
//! The list comes from a study of peers: what they fixed, what red teams found in them, what their conformance runs
//! could not see. Each line names a behaviour and where it is tested; a name that leads nowhere fails.

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

/// Mistakes in parts that other tests of the house hold off, or that come with a later part.
const ELSEWHERE: &[(&str, &str)] = &[
    ("webhooks are called on dry runs whatever their sideEffects say", "webhooks come with custom resources"),
    ("errors of matchConditions ignore failurePolicy", "webhooks come with custom resources"),
    ("keys of custom resources lack the group", "custom resources come later; api::tests holds folders apart"),
    ("flushing nftables drops connections", "src/netfilter and src/kube-proxy"),
    ("DNS is the first to die under pressure", "tests/golden: the manifest has a priority class and requests"),
    ("no kube-root-ca.crt in namespaces", "src/kube-controller-manager"),
    ("the scheduler ignores taints", "src/kube-scheduler"),
    ("there is no audit log", "src/kube-apiserver"),
];

#[test]
fn every_known_mistake_of_peers_has_its_test() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("it/contract");
    for (mistake, file, test) in [SECURITY, TRUTH, OBJECTS].concat() {
        let path = folder.join(format!("{file}.rs"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{mistake}: no {}", path.display()));
        assert!(text.contains(&format!("fn {test}()")), "{mistake}: {file}::{test} is not there");
    }
    assert!(ELSEWHERE.iter().all(|(mistake, place)| !mistake.is_empty() && !place.is_empty()));
}
