//! Arguments → a checked [`Config`].

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use component_base::flags::duration;
use component_base::logging::LoggingArgs;
use hickory_proto::rr::Name;

/// The arguments as written.
#[derive(Debug, Parser)]
#[command(name = "cluster-dns", about = "Answers for the names of Services and Pods")]
pub struct Args {
    /// The domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    pub domain: String,
    /// Address to answer on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port to answer on.
    #[arg(long, default_value_t = 53)]
    pub port: u16,
    /// Kubeconfig file; without it the pod's own account is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Resolvers for all other names, with or without port; default: those of resolv.conf.
    #[arg(long, value_delimiter = ',')]
    pub upstream: Vec<String>,
    /// Where the resolvers are read from.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Address and port of /health.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub health_address: SocketAddr,
    /// Address and port of /ready.
    #[arg(long, default_value = "0.0.0.0:8181")]
    pub ready_address: SocketAddr,
    /// Address and port of /metrics.
    #[arg(long, default_value = "0.0.0.0:9153")]
    pub metrics_address: SocketAddr,
    /// How long questions are still answered after the signal to stop.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub lameduck: Duration,
    /// Logging.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The domain of the cluster.
    pub domain: Name,
    /// Where questions are answered.
    pub address: SocketAddr,
    /// Path of the kubeconfig; none means the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// Resolvers for all other names.
    pub upstreams: Vec<SocketAddr>,
    /// Where `/health` is served.
    pub health: SocketAddr,
    /// Where `/ready` is served.
    pub ready: SocketAddr,
    /// Where `/metrics` is served.
    pub metrics: SocketAddr,
    /// How long questions are still answered after the signal to stop.
    pub lameduck: Duration,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let mut domain =
            Name::from_ascii(&args.domain).with_context(|| format!("--domain: {:?} is no name", args.domain))?;
        domain.set_fqdn(true);
        anyhow::ensure!(!domain.is_root(), "--domain: the root is no domain for a cluster");
        let given = if args.upstream.is_empty() {
            resolvers(&args.resolv_conf)
        } else {
            let parsed = args.upstream.iter().map(|text| upstream(text));
            parsed.collect::<anyhow::Result<Vec<_>>>()?
        };
        let address = SocketAddr::new(args.bind_address, args.port);
        let (loops, upstreams): (Vec<_>, Vec<_>) = given.into_iter().partition(|u| leads_back(*u, address));
        for upstream in loops {
            tracing::warn!(%upstream, "resolver left out: it leads back to this server");
        }
        Ok(Self {
            domain,
            address,
            kubeconfig: args.kubeconfig,
            upstreams,
            health: args.health_address,
            ready: args.ready_address,
            metrics: args.metrics_address,
            lameduck: args.lameduck,
        })
    }
}

fn upstream(text: &str) -> anyhow::Result<SocketAddr> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    bare.or_else(|_| text.parse()).with_context(|| format!("--upstream: {text:?} is no address"))
}

/// Whether a question sent there would arrive here.
fn leads_back(upstream: SocketAddr, own: SocketAddr) -> bool {
    let here = upstream.ip().is_loopback() || upstream.ip().is_unspecified();
    upstream.port() == own.port() && (upstream.ip() == own.ip() || (here && own.ip().is_unspecified()))
}

fn resolvers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "no resolvers: only names of the cluster are answered");
        String::new()
    });
    let nameserver = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        // A zone such as %eth0 means nothing in another namespace.
        let ip: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(ip, 53))
    };
    text.lines().filter_map(nameserver).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        Config::try_from(Args::parse_from(std::iter::once(&"cluster-dns").chain(args)))
    }

    #[test]
    fn a_resolver_that_is_this_server_is_left_out() {
        let config = config(&["--upstream=127.0.0.53,192.0.2.1,192.0.2.2:5353"]).unwrap();
        let kept: Vec<String> = config.upstreams.iter().map(ToString::to_string).collect();
        assert_eq!(kept, ["192.0.2.1:53", "192.0.2.2:5353"]);
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (flag, name) in
            [("--domain=a..b", "--domain"), ("--domain=.", "--domain"), ("--upstream=dns", "--upstream")]
        {
            let error = format!("{:#}", config(&[flag, "--resolv-conf=/none"]).unwrap_err());
            assert!(error.contains(name), "{flag}: {error}");
        }
    }
}
