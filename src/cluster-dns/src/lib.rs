//! The DNS server of the cluster: names of Services and Pods for everybody inside it.
//!
//! It follows Services and `EndpointSlices` and answers as the Kubernetes DNS specification 1.1.0
//! says; every other name it passes on to the resolvers of its host.
//!
//! Invariants: [`zone::answer`] is pure and never blocks; a question is answered from the zone that
//! was whole when it came; nothing that comes from the network can stop the program. It never
//! writes to the API server and never asks it anything while a client waits.
//!
//! Read [`zone`] first (what a name means), then [`records`] (Services as names), [`respond`]
//! (a packet in, a packet out), [`forward`] and [`server`].

pub mod app;
pub mod cache;
pub mod config;
pub mod forward;
pub mod lookup;
pub mod records;
pub mod respond;
pub mod server;
pub mod source;
pub mod zone;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the program; `args[0]` is its name. `lookup` as the first argument asks a server instead of being one.
pub fn main_with_args(mut args: Vec<OsString>) -> ExitCode {
    if args.get(1).is_some_and(|word| word == "lookup") {
        args.remove(1);
        return look_up(args);
    }
    let args = match component_base::flags::parse::<config::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    component_base::logging::init(&args.logging);
    component_base::runtime::block_on("cluster-dns", async move {
        let config = config::Config::try_from(args)?;
        app::run(config, component_base::shutdown::signal_token()).await
    })
}

fn look_up(args: Vec<OsString>) -> ExitCode {
    let args = match component_base::flags::parse::<lookup::Args>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    component_base::runtime::block_on("cluster-dns lookup", async move {
        for address in lookup::run(&args).await? {
            writeln!(std::io::stdout().lock(), "{address}")?;
        }
        Ok(())
    })
}
