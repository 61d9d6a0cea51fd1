//! The flags of what protects the server from too much work.

use std::time::Duration;

use clap::{ArgAction, Args};
use component_base::flags::{boolean, duration};

/// What protects the server from too much work.
#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// Requests take turns by flow schemas and priority levels.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// Reads in flight.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Writes in flight.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// How long an ordinary request may take.
    #[arg(long, default_value = "1m", value_parser = duration)]
    pub request_timeout: Duration,
    /// The shortest life of a watch, in seconds, unless the client asks for less.
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// The chance that a request of HTTP/2 has its client open a new connection: 0 to 0.02.
    #[arg(long, default_value = "0", value_parser = chance)]
    pub goaway_chance: f64,
    /// How long `/livez` overlooks a start that is not finished; 0 for ever.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub livez_grace_period: Duration,
    /// Taints a pod tolerates this long unless it says otherwise.
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// The same for unreachable nodes.
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
    /// API versions switched on; all built-in versions are, so switching one off is refused.
    #[arg(long, value_delimiter = ',')]
    pub runtime_config: Vec<String>,
}

/// Most clients shall stay where they are.
fn chance(text: &str) -> Result<f64, String> {
    let chance: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=0.02).contains(&chance) { Ok(chance) } else { Err("must be between 0 and 0.02".to_owned()) }
}
