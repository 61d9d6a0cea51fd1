//! Routes to networks behind other hosts, through netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::netlink::{ACKNOWLEDGE, CREATE, DUMP, Message, REPLACE, Request, Socket, Subsystem, attributes};

/// Marks the routes written here (`ip route` shows it as `proto 107`); no routing daemon uses the number.
pub const PROTOCOL: u8 = 107;
/// The metric of the routes written here. A route of somebody else to the same network has another one, so that
/// neither replaces the other.
const METRIC: u32 = 107;

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const MAIN_TABLE: u8 = 254;
const UNICAST: u8 = 1;
const FIXED: usize = 12;
const DESTINATION: u16 = 1;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const NO_SUCH_PROCESS: i32 = 3;

/// A route of the main table to a network behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The network that is reached.
    pub destination: IpNet,
    /// The host that knows the way; of the same family.
    pub gateway: IpAddr,
}

/// Why a route could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The routes could not be read.
    #[error("cannot read the routes")]
    Read(#[source] io::Error),
    /// The kernel refused a change.
    #[error("cannot change the route to {destination} via {gateway}", destination = route.destination, gateway = route.gateway)]
    Refused {
        /// The route.
        route: Route,
        /// What the kernel said; "network is unreachable" means that the gateway is on no network of this host.
        #[source]
        source: io::Error,
    },
}

/// The routes of one network namespace that this adapter made; routes of others are not seen and not touched.
pub trait Routes: Send + Sync + 'static {
    /// All routes that carry [`PROTOCOL`].
    fn list(&self) -> Result<Vec<Route>, RoutesError>;
    /// Adds the route or moves it to another gateway.
    fn replace(&self, route: &Route) -> Result<(), RoutesError>;
    /// Removes the route; an absent one is no error.
    fn remove(&self, route: &Route) -> Result<(), RoutesError>;
}

/// [`Routes`] of the network namespace of the calling thread. The kernel answers at once, so nothing waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Routes for Kernel {
    fn list(&self) -> Result<Vec<Route>, RoutesError> {
        let mut routes = Vec::new();
        let request = Request::new(GET_ROUTE, DUMP, &[0; FIXED]);
        let answer = Socket::open(Subsystem::Route).and_then(|socket| {
            socket.ask(&request, |message| {
                if message.kind == NEW_ROUTE {
                    routes.extend(read(message.payload));
                }
            })
        });
        answer.map(|()| routes).map_err(RoutesError::Read)
    }

    fn replace(&self, route: &Route) -> Result<(), RoutesError> {
        change(NEW_ROUTE, ACKNOWLEDGE | CREATE | REPLACE, route)
    }

    fn remove(&self, route: &Route) -> Result<(), RoutesError> {
        match change(DELETE_ROUTE, ACKNOWLEDGE, route) {
            Err(RoutesError::Refused { source, .. }) if source.raw_os_error() == Some(NO_SUCH_PROCESS) => Ok(()),
            other => other,
        }
    }
}

fn change(kind: u16, flags: u16, route: &Route) -> Result<(), RoutesError> {
    let refused = |source| RoutesError::Refused { route: route.clone(), source };
    let family = match (route.destination, route.gateway) {
        (IpNet::V4(_), IpAddr::V4(_)) => nix::libc::AF_INET,
        (IpNet::V6(_), IpAddr::V6(_)) => nix::libc::AF_INET6,
        _ => {
            return Err(refused(io::Error::new(
                io::ErrorKind::InvalidInput,
                "gateway and network are of two families",
            )));
        }
    };
    let family = u8::try_from(family).unwrap_or_default();
    // family, length of destination and source, type of service, table, protocol, scope, type, flags
    let fixed = [family, route.destination.prefix_len(), 0, 0, MAIN_TABLE, PROTOCOL, 0, UNICAST, 0, 0, 0, 0];
    let request = Request::new(kind, flags, &fixed)
        .with(DESTINATION, &bytes(route.destination.network()))
        .with(GATEWAY, &bytes(route.gateway))
        .with(PRIORITY, &METRIC.to_ne_bytes());
    Socket::open(Subsystem::Route).and_then(|socket| socket.ask(&request, |_: Message<'_>| ())).map_err(refused)
}

/// A route of ours from the payload of its message.
fn read(payload: &[u8]) -> Option<Route> {
    let fixed: &[u8; FIXED] = payload.first_chunk()?;
    if fixed[4] != MAIN_TABLE || fixed[5] != PROTOCOL {
        return None;
    }
    let of = |wanted| attributes(&payload[FIXED..]).find(|(kind, _)| *kind == wanted).and_then(|(_, v)| address(v));
    Some(Route { destination: IpNet::new(of(DESTINATION)?, fixed[1]).ok()?, gateway: of(GATEWAY)? })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk().map(|b: &[u8; 4]| IpAddr::from(Ipv4Addr::from(*b))),
        16 => bytes.first_chunk().map(|b: &[u8; 16]| IpAddr::from(Ipv6Addr::from(*b))),
        _ => None,
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_of_this_host_can_be_read() {
        // What there is depends on the host; that it is understood does not.
        Kernel.list().unwrap();
    }

    #[test]
    fn two_families_in_one_route_are_refused_before_the_kernel_sees_them() {
        let route = Route { destination: "10.244.1.0/24".parse().unwrap(), gateway: "fd00::1".parse().unwrap() };
        let error = Kernel.replace(&route).unwrap_err();
        assert_eq!(error.to_string(), "cannot change the route to 10.244.1.0/24 via fd00::1");
    }
}
