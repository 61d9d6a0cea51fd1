//! Connection tracking: forgetting UDP flows whose destination is gone.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use crate::program::Program;

/// Which UDP flows to forget; every given field must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpFlows {
    /// The address the client sent to.
    pub original_destination: Option<IpAddr>,
    /// The port the client sent to.
    pub original_port: Option<u16>,
    /// The address the flow was translated to.
    pub translated_destination: Option<IpAddr>,
}

/// Why flows could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// The program that was started.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The program failed.
    #[error("conntrack failed: {detail}")]
    Failed {
        /// What it said.
        detail: String,
    },
}

/// The connection table of one network namespace.
pub trait Conntrack: Send + Sync + 'static {
    /// Forgets the UDP flows that match; none matching is no error.
    fn forget_udp(&self, flows: &UdpFlows) -> impl Future<Output = Result<(), ConntrackError>> + Send;
}

/// [`Conntrack`] by the `conntrack` program; does nothing where the host has none.
#[derive(Debug, Clone)]
pub struct ConntrackCommand {
    program: Option<Program>,
}

impl ConntrackCommand {
    /// Finds `conntrack` here or in the host mounted at `host_root`.
    pub fn find(host_root: Option<&Path>) -> Self {
        Self { program: Program::find("conntrack", host_root) }
    }

    /// Whether the host has the program at all.
    pub fn is_available(&self) -> bool {
        self.program.is_some()
    }
}

impl Conntrack for ConntrackCommand {
    async fn forget_udp(&self, flows: &UdpFlows) -> Result<(), ConntrackError> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        let output = program
            .command(arguments(flows))
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| ConntrackError::Run { program: program.path().to_owned(), source })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || stderr.contains("0 flow entries have been deleted") {
            return Ok(());
        }
        Err(ConntrackError::Failed { detail: stderr.trim().to_owned() })
    }
}

fn arguments(flows: &UdpFlows) -> Vec<String> {
    let mut args: Vec<String> = ["-D", "-p", "udp"].map(str::to_owned).into();
    let six = [flows.original_destination, flows.translated_destination].iter().flatten().any(IpAddr::is_ipv6);
    if six {
        args.extend(["-f".to_owned(), "ipv6".to_owned()]);
    }
    if let Some(address) = flows.original_destination {
        args.extend(["--orig-dst".to_owned(), address.to_string()]);
    }
    if let Some(port) = flows.original_port {
        args.extend(["--dport".to_owned(), port.to_string()]);
    }
    if let Some(address) = flows.translated_destination {
        args.extend(["--dst-nat".to_owned(), address.to_string()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_given_fields_become_arguments() {
        let flows = UdpFlows {
            original_destination: Some("10.96.0.10".parse().unwrap()),
            original_port: None,
            translated_destination: Some("10.244.0.3".parse().unwrap()),
        };
        assert_eq!(arguments(&flows).join(" "), "-D -p udp --orig-dst 10.96.0.10 --dst-nat 10.244.0.3");
    }

    #[test]
    fn an_ipv6_address_selects_the_family() {
        let flows = UdpFlows { original_destination: Some("fd00::a".parse().unwrap()), ..Default::default() };
        assert_eq!(arguments(&flows).join(" "), "-D -p udp -f ipv6 --orig-dst fd00::a");
    }
}
