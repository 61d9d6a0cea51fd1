//! The table against the list of upstream's flags, which was read from the reference of v1.35 and not from the table.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};

use super::*;
use crate::config::{Args as AllArgs, Config};

/// The reference.
const REFERENCE: &str = "
admission-control admission-control-config-file advertise-address aggregator-reject-forwarding-redirect
allow-metric-labels allow-metric-labels-manifest allow-privileged anonymous-auth api-audiences
audit-log-batch-buffer-size audit-log-batch-max-size audit-log-batch-max-wait audit-log-batch-throttle-burst
audit-log-batch-throttle-enable audit-log-batch-throttle-qps audit-log-compress audit-log-format audit-log-maxage
audit-log-maxbackup audit-log-maxsize audit-log-mode audit-log-path audit-log-truncate-enabled
audit-log-truncate-max-batch-size audit-log-truncate-max-event-size audit-log-version audit-policy-file
audit-webhook-batch-buffer-size audit-webhook-batch-max-size audit-webhook-batch-max-wait
audit-webhook-batch-throttle-burst audit-webhook-batch-throttle-enable audit-webhook-batch-throttle-qps
audit-webhook-config-file audit-webhook-initial-backoff audit-webhook-mode audit-webhook-truncate-enabled
audit-webhook-truncate-max-batch-size audit-webhook-truncate-max-event-size audit-webhook-version
authentication-config authentication-token-webhook-cache-ttl authentication-token-webhook-config-file
authentication-token-webhook-version authorization-config authorization-mode authorization-policy-file
authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl
authorization-webhook-config-file authorization-webhook-version bind-address cert-dir client-ca-file
contention-profiling coordinated-leadership-lease-duration coordinated-leadership-renew-deadline
coordinated-leadership-retry-period cors-allowed-origins debug-socket-path default-not-ready-toleration-seconds
default-unreachable-toleration-seconds delete-collection-workers disable-admission-plugins disable-http2-serving
disabled-metrics egress-selector-config-file emulated-version emulation-forward-compatible enable-admission-plugins
enable-aggregator-routing enable-bootstrap-token-auth enable-garbage-collector enable-logs-handler
enable-priority-and-fairness encryption-provider-config encryption-provider-config-automatic-reload
endpoint-reconciler-type etcd-cafile etcd-certfile etcd-compaction-interval etcd-count-metric-poll-period
etcd-db-metric-poll-interval etcd-healthcheck-timeout etcd-keyfile etcd-prefix etcd-readycheck-timeout etcd-servers
etcd-servers-overrides event-ttl external-hostname feature-gates goaway-chance help http2-max-streams-per-connection
kubelet-certificate-authority kubelet-client-certificate kubelet-client-key kubelet-preferred-address-types
kubelet-timeout kubernetes-service-node-port lease-reuse-duration-seconds livez-grace-period log-flush-frequency
log-text-info-buffer-size log-text-split-stream logging-format max-connection-bytes-per-sec
max-mutating-requests-inflight max-requests-inflight min-compatibility-version min-request-timeout oidc-ca-file
oidc-client-id oidc-groups-claim oidc-groups-prefix oidc-issuer-url oidc-required-claim oidc-signing-algs
oidc-username-claim oidc-username-prefix peer-advertise-ip peer-advertise-port peer-ca-file permit-address-sharing
permit-port-sharing profiling proxy-client-cert-file proxy-client-key-file request-timeout
requestheader-allowed-names requestheader-client-ca-file requestheader-extra-headers-prefix
requestheader-group-headers requestheader-uid-headers requestheader-username-headers runtime-config
runtime-config-emulation-forward-compatible secure-port service-account-extend-token-expiration
service-account-issuer service-account-jwks-uri service-account-key-file service-account-lookup
service-account-max-token-expiration service-account-signing-endpoint service-account-signing-key-file
service-cluster-ip-range service-node-port-range show-hidden-metrics-for-version shutdown-delay-duration
shutdown-send-retry-after shutdown-watch-termination-grace-period storage-backend storage-initialization-timeout
storage-media-type strict-transport-security-directives tls-cert-file tls-cipher-suites tls-min-version
tls-private-key-file tls-sni-cert-key token-auth-file tracing-config-file v version vmodule watch-cache
watch-cache-sizes
";
/// What the reference leaves out: deprecated, or of a log format that only the program registers.
const HIDDEN: &str = "
apiserver-count audit-webhook-batch-initial-backoff default-watch-cache-size log-json-info-buffer-size
log-json-split-stream
";

fn config(flags: &[&str]) -> Result<Config, String> {
    let fixed = ["x", "--advertise-address=192.0.2.1", "--tls-cert-file=c", "--tls-private-key-file=k"];
    let more = ["--etcd-servers=http://127.0.0.1:1", "--service-account-issuer=i"];
    let all = fixed.iter().chain(&more).chain(flags);
    let args = AllArgs::try_parse_from(all).map_err(|error| error.to_string())?;
    Config::try_from(args).map_err(|error| error.to_string())
}

#[test]
fn every_flag_of_upstream_has_one_row_and_no_other_has() {
    let upstream: BTreeSet<&str> = REFERENCE.split_whitespace().chain(HIDDEN.split_whitespace()).collect();
    let rows: Vec<&str> = FLAGS.iter().map(|flag| flag.name).collect();
    assert!(rows.is_sorted_by(|a, b| a < b), "the rows are not in order, or one is there twice");
    let rows: BTreeSet<&str> = rows.into_iter().collect();
    let missing: Vec<_> = upstream.difference(&rows).collect();
    let invented: Vec<_> = rows.difference(&upstream).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:?}, not upstream's: {invented:?}");
}

#[test]
fn the_program_knows_every_flag_of_the_table_and_the_table_every_flag_of_the_program() {
    let mut command = AllArgs::command();
    command.build();
    let known: BTreeSet<String> = command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect();
    for name in &known {
        assert!(FLAGS.iter().any(|flag| flag.name == name), "--{name} is not in the table");
    }
    // `--version` is answered before flags are read.
    for flag in FLAGS.iter().filter(|flag| flag.name != "version") {
        assert!(known.contains(flag.name), "--{} is not known", flag.name);
    }
}

#[test]
fn a_flag_without_effect_is_taken_and_told_unless_it_asks_for_what_is_done_anyway() {
    for flag in FLAGS {
        let Support::NoEffect(why) = &flag.support else { continue };
        let odd = if why.switch {
            ["true", "false"].into_iter().find(|value| !why.fits.contains(value)).unwrap()
        } else {
            "odd"
        };
        let config = config(&[&format!("--{}={odd}", flag.name)]).unwrap();
        let told = config.idle.iter().map(|idle| (idle.flag, idle.value.as_str(), idle.why)).collect::<Vec<_>>();
        assert_eq!(told, [(flag.name, odd, why.why)]);
        for fit in why.fits {
            let silent = self::config(&[&format!("--{}={fit}", flag.name)]).unwrap();
            assert!(silent.idle.is_empty(), "--{}={fit}", flag.name);
        }
    }
    let alone = config(&["--profiling", "--watch-cache=false", "--watch-cache-sizes=pods#0,nodes#0"]).unwrap();
    let told: Vec<_> = alone.idle.iter().map(|idle| format!("{}={}", idle.flag, idle.value)).collect();
    assert_eq!(told, ["profiling=true", "watch-cache=false", "watch-cache-sizes=pods#0,nodes#0"]);
}

#[test]
fn a_refused_flag_says_what_to_do() {
    for flag in FLAGS {
        let Support::Refused(why) = &flag.support else { continue };
        let odd = if why.switch {
            ["true", "false"].into_iter().find(|value| !why.fits.contains(value)).unwrap()
        } else {
            "odd"
        };
        let error = config(&[&format!("--{}={odd}", flag.name)]).unwrap_err();
        assert_eq!(error, format!("--{}={odd} cannot be used: {}", flag.name, why.why));
        for fit in why.fits {
            assert!(config(&[&format!("--{}={fit}", flag.name)]).is_ok(), "--{}={fit}", flag.name);
        }
    }
}
