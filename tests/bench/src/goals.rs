//! What is to be reached, beside which the report puts what was.

use std::fmt;

/// What a number is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many times better than the peer.
    Times(f64),
    /// No more than this, whatever the peer does.
    AtMost(f64),
}

impl Goal {
    /// Whether it is reached; unknown without what it is measured by.
    pub fn is_reached(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::Times(wanted) => ratio.map(|ratio| ratio >= wanted),
            Self::AtMost(limit) => ours.map(|ours| ours <= limit),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(wanted) => write!(f, "{wanted}×"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

/// The first words of a measurement, a word that must follow, and the goal.
const GOALS: &[(&str, &str, Goal)] = &[
    ("ready,", "", Goal::AtMost(200.0)),
    ("idle memory,", "", Goal::AtMost(30.0)),
    ("idle CPU,", "", Goal::AtMost(0.05)),
    ("get,", "CPU", Goal::Times(6.0)),
    ("create,", "CPU of the server", Goal::Times(3.0)),
    ("create,", "rate", Goal::Times(1.5)),
    ("update,", "CPU", Goal::Times(3.0)),
    ("update,", "rate", Goal::Times(1.5)),
    ("watch,", "CPU", Goal::Times(10.0)),
    ("list of", "", Goal::Times(5.0)),
    ("ten informers", "of that at rest", Goal::AtMost(1.2)),
];

/// The goal of a measurement, if it has one.
pub fn of(name: &str) -> Option<Goal> {
    let fits = |(first, word, _): &&(&str, &str, Goal)| name.starts_with(first) && name.contains(word);
    GOALS.iter().find(fits).map(|(.., goal)| *goal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_held_against_the_peer_or_a_number() {
        assert_eq!(Goal::Times(6.0).is_reached(Some(1.0), Some(6.0)), Some(true));
        assert_eq!(Goal::Times(6.0).is_reached(Some(1.0), None), None);
        assert_eq!(Goal::AtMost(30.0).is_reached(Some(30.1), Some(9.0)), Some(false));
        assert_eq!(of("create, JSON: rate, 16 in flight").unwrap().to_string(), "1.5×");
        assert_eq!(of("idle CPU, of one core").unwrap().to_string(), "≤ 0.05");
        assert_eq!(of("create, JSON: CPU of etcd"), None);
    }
}
