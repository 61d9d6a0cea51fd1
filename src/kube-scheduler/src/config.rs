//! Arguments and configuration file → a checked [`Config`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{ArgAction, Parser};
use component_base::flags::{boolean, duration};
use component_base::logging::LoggingArgs;
use component_base::tls::TlsFiles;
use controller_runtime::LeaseTimes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::scheduler::DEFAULT_NAME;

/// The arguments as written; names are upstream's.
#[derive(Debug, Parser)]
#[command(name = "kube-scheduler", about = "Chooses a node for every pod", args_override_self = true)]
pub struct Args {
    /// `KubeSchedulerConfiguration` file.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// How to reach the API server; without it the pod's own account is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Accepted as upstream's; only `/metrics` needs authentication, by client certificate.
    #[arg(long)]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Accepted as upstream's.
    #[arg(long)]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Address the secure port listens on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Secure port.
    #[arg(long, default_value_t = 10259)]
    pub secure_port: u16,
    /// Certificate of the secure port; made for this run if absent.
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate.
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    /// Authorities of client certificates.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether only the holder of the lease works.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    /// After this long without a renewal others may take over.
    #[arg(long, value_parser = duration)]
    pub leader_elect_lease_duration: Option<Duration>,
    /// A leader that could not renew for this long stops.
    #[arg(long, value_parser = duration)]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Between two tries.
    #[arg(long, value_parser = duration)]
    pub leader_elect_retry_period: Option<Duration>,
    /// Name of the lease.
    #[arg(long)]
    pub leader_elect_resource_name: Option<String>,
    /// Namespace of the lease.
    #[arg(long)]
    pub leader_elect_resource_namespace: Option<String>,
    /// Accepted as upstream's.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub profiling: Option<bool>,
    /// Accepted as upstream's.
    #[arg(long)]
    pub feature_gates: Option<String>,
    /// Logging.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// `KubeSchedulerConfiguration` as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    api_version: String,
    kind: String,
    client_connection: ClientConnection,
    leader_election: LeaderElection,
    profiles: Vec<Profile>,
    #[serde(rename = "parallelism")]
    _parallelism: IgnoredAny,
    #[serde(rename = "percentageOfNodesToScore")]
    _percentage: IgnoredAny,
    #[serde(rename = "podInitialBackoffSeconds")]
    _initial_backoff: IgnoredAny,
    #[serde(rename = "podMaxBackoffSeconds")]
    _max_backoff: IgnoredAny,
    #[serde(rename = "delayCacheUntilActive")]
    _delay_cache: IgnoredAny,
    #[serde(rename = "enableProfiling")]
    _profiling: IgnoredAny,
    #[serde(rename = "enableContentionProfiling")]
    _contention_profiling: IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientConnection {
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaderElection {
    leader_elect: Option<bool>,
    lease_duration: Option<String>,
    renew_deadline: Option<String>,
    retry_period: Option<String>,
    resource_name: Option<String>,
    resource_namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Profile {
    scheduler_name: Option<String>,
}

/// Which lease decides who works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its times.
    pub times: LeaseTimes,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Path of the kubeconfig; none means the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// The secure port.
    pub address: SocketAddr,
    /// Certificate and key of the secure port.
    pub tls: Option<TlsFiles>,
    /// Authorities of client certificates.
    pub client_ca: Option<PathBuf>,
    /// The election; none means that this process always works.
    pub election: Option<Election>,
    /// The names under which pods ask for this scheduler.
    pub names: BTreeSet<String>,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let tls = match (&args.tls_cert_file, &args.tls_private_key_file) {
            (Some(cert), Some(key)) => {
                Some(TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: args.client_ca_file.clone() })
            }
            (None, None) => None,
            _ => anyhow::bail!("--tls-cert-file and --tls-private-key-file: give both or neither"),
        };
        let election = election(&args, &file.leader_election)?;
        let name = |p: Profile| p.scheduler_name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let mut names: BTreeSet<String> = file.profiles.into_iter().map(name).collect();
        if names.is_empty() {
            names.insert(DEFAULT_NAME.to_owned());
        }
        Ok(Self {
            kubeconfig: args.kubeconfig.or(file.client_connection.kubeconfig),
            address: SocketAddr::new(args.bind_address, args.secure_port),
            tls,
            client_ca: args.client_ca_file,
            election,
            names,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = serde_saphyr::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
    ensure!(
        file.kind == "KubeSchedulerConfiguration" && file.api_version == "kubescheduler.config.k8s.io/v1",
        "{}: expected kind KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1",
        path.display()
    );
    Ok(file)
}

fn election(args: &Args, file: &LeaderElection) -> anyhow::Result<Option<Election>> {
    if !args.leader_elect.or(file.leader_elect).unwrap_or(true) {
        return Ok(None);
    }
    let time =
        |flag: Option<Duration>, text: &Option<String>, field: &str, default: Duration| -> anyhow::Result<Duration> {
            let written = text.as_deref().map(duration).transpose();
            let written = written.map_err(|why| anyhow::anyhow!("leaderElection.{field}: {why}"))?;
            Ok(flag.or(written).unwrap_or(default))
        };
    let usual = LeaseTimes::default();
    let times = LeaseTimes {
        lease_duration: time(
            args.leader_elect_lease_duration,
            &file.lease_duration,
            "leaseDuration",
            usual.lease_duration,
        )?,
        renew_deadline: time(
            args.leader_elect_renew_deadline,
            &file.renew_deadline,
            "renewDeadline",
            usual.renew_deadline,
        )?,
        retry_period: time(args.leader_elect_retry_period, &file.retry_period, "retryPeriod", usual.retry_period)?,
    };
    ensure!(
        times.lease_duration > times.renew_deadline && times.renew_deadline > times.retry_period,
        "leader election: the lease must outlast the renewal, and the renewal a retry"
    );
    let text = |flag: &Option<String>, file: &Option<String>, default: &str| {
        flag.clone().or_else(|| file.clone()).unwrap_or_else(|| default.to_owned())
    };
    Ok(Some(Election {
        namespace: text(&args.leader_elect_resource_namespace, &file.resource_namespace, "kube-system"),
        name: text(&args.leader_elect_resource_name, &file.resource_name, "kube-scheduler"),
        times,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        Config::try_from(Args::parse_from(std::iter::once(&"kube-scheduler").chain(args)))
    }

    #[test]
    fn kubeadms_flags_are_understood() {
        let config = config(&[
            "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
            "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
            "--bind-address=127.0.0.1",
            "--kubeconfig=/etc/kubernetes/scheduler.conf",
            "--leader-elect=true",
        ])
        .unwrap();
        assert_eq!(config.address.to_string(), "127.0.0.1:10259");
        assert_eq!(config.election.unwrap().name, "kube-scheduler");
        assert!(config.names.contains("default-scheduler"));
    }

    #[test]
    fn the_file_names_profiles_and_flags_win() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
            clientConnection: {kubeconfig: /a}\nleaderElection: {leaderElect: true, leaseDuration: 20s}\n\
            profiles: [{schedulerName: one}, {schedulerName: two}]\n";
        std::fs::write(file.path(), text).unwrap();
        let path = format!("--config={}", file.path().display());
        let read = config(&[&path]).unwrap();
        assert_eq!(read.names.len(), 2);
        assert_eq!(read.election.unwrap().times.lease_duration, Duration::from_secs(20));
        assert_eq!(read.kubeconfig, Some("/a".into()));
        assert!(config(&[&path, "--leader-elect=false"]).unwrap().election.is_none());
    }

    #[test]
    fn wrong_times_are_refused() {
        assert!(config(&["--leader-elect-lease-duration=5s"]).is_err());
        assert!(config(&["--tls-cert-file=/a"]).is_err());
    }
}
