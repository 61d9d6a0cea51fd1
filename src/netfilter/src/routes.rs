//! Routes to networks behind other hosts.

use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use ipnet::IpNet;
use serde::Deserialize;

use crate::program::Program;

/// A route of the main table to a network behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The network that is reached.
    pub destination: IpNet,
    /// The host that knows the way.
    pub gateway: IpAddr,
}

/// Why a route could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// No usable `ip` program on this host.
    #[error("the ip program was not found; install the package iproute2")]
    NoProgram,
    /// The program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// The program that was started.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused.
    #[error("ip route failed: {detail}")]
    Refused {
        /// What the program said.
        detail: String,
    },
    /// The answer was not understood.
    #[error("cannot read the route list")]
    Answer(#[source] serde_json::Error),
}

/// The main routing table of one network namespace.
pub trait Routes: Send + Sync + 'static {
    /// All routes that go through a gateway, without default routes.
    fn list(&self) -> impl Future<Output = Result<Vec<Route>, RoutesError>> + Send;
    /// Adds the route or moves it to another gateway.
    fn replace(&self, route: &Route) -> impl Future<Output = Result<(), RoutesError>> + Send;
    /// Removes the route; an absent one is no error.
    fn remove(&self, route: &Route) -> impl Future<Output = Result<(), RoutesError>> + Send;
}

/// [`Routes`] by the `ip` program.
#[derive(Debug, Clone)]
pub struct IpCommand {
    program: Program,
}

#[derive(Deserialize)]
struct Row {
    dst: String,
    gateway: Option<IpAddr>,
}

impl IpCommand {
    /// Finds `ip` here or in the host mounted at `host_root`.
    pub fn find(host_root: Option<&Path>) -> Result<Self, RoutesError> {
        Ok(Self { program: Program::find("ip", host_root).ok_or(RoutesError::NoProgram)? })
    }

    async fn run(&self, args: &[&str]) -> Result<Vec<u8>, RoutesError> {
        let output = self
            .program
            .command(args)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| RoutesError::Run { program: self.program.path().to_owned(), source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(RoutesError::Refused { detail })
    }
}

impl Routes for IpCommand {
    async fn list(&self) -> Result<Vec<Route>, RoutesError> {
        let mut routes = Vec::new();
        for family in ["-4", "-6"] {
            routes.extend(parse(&self.run(&[family, "-j", "route", "show"]).await?)?);
        }
        Ok(routes)
    }

    async fn replace(&self, route: &Route) -> Result<(), RoutesError> {
        let (destination, gateway) = (route.destination.to_string(), route.gateway.to_string());
        self.run(&["route", "replace", &destination, "via", &gateway]).await.map(drop)
    }

    async fn remove(&self, route: &Route) -> Result<(), RoutesError> {
        let (destination, gateway) = (route.destination.to_string(), route.gateway.to_string());
        match self.run(&["route", "del", &destination, "via", &gateway]).await {
            Err(RoutesError::Refused { detail }) if detail.contains("No such process") => Ok(()),
            other => other.map(drop),
        }
    }
}

fn parse(json: &[u8]) -> Result<Vec<Route>, RoutesError> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = serde_json::from_slice(json).map_err(RoutesError::Answer)?;
    let route = |row: Row| {
        let gateway = row.gateway?;
        // A single host is printed without its prefix length.
        let destination = row.dst.parse().or_else(|_| row.dst.parse::<IpAddr>().map(IpNet::from));
        Some(Route { destination: destination.ok()?, gateway })
    };
    Ok(rows.into_iter().filter_map(route).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gateway_routes_are_listed() {
        let json = br#"[{"dst":"default","gateway":"10.0.0.1","dev":"eth0","flags":[]},
            {"dst":"10.244.1.0/24","gateway":"10.0.0.2","dev":"eth0","flags":[]},
            {"dst":"10.9.9.9","gateway":"10.0.0.3","dev":"eth0","flags":[]},
            {"dst":"10.0.0.0/24","dev":"eth0","scope":"link","flags":[]}]"#;
        let seen: Vec<String> =
            parse(json).unwrap().iter().map(|r| format!("{} via {}", r.destination, r.gateway)).collect();
        assert_eq!(seen, ["10.244.1.0/24 via 10.0.0.2", "10.9.9.9/32 via 10.0.0.3"]);
    }

    #[test]
    fn an_empty_answer_is_no_route() {
        assert!(parse(b"").unwrap().is_empty());
        assert!(parse(b"[ ]").unwrap().is_empty());
    }
}
