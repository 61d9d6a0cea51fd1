//! What to do: typed steps, each with its reason and with the steps that must come first. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// Every step of one run, in an order in which they could run one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What will go for good and cannot be planned yet: whoever agrees to this plan is told of it now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Step>,
}

/// One change of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `<phase>/<subject>`, unique in the plan.
    pub id: String,
    /// The phase that carries it out.
    pub phase: &'static str,
    /// The machine it changes; the cluster's name if it is not about one machine.
    pub subject: String,
    /// What kind of change it is.
    pub action: Action,
    /// Why it is needed.
    pub reason: String,
    /// The steps that must have ended well before.
    pub after: Vec<String>,
    /// The steps of which one must have ended well before, whichever it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_any: Vec<String>,
}

/// Kinds of change, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Waits for something that an earlier step has set going.
    Wait,
    /// Makes something that was not there.
    Create,
    /// Switches something on that is there.
    Start,
    /// Changes something without interrupting it.
    InPlace,
    /// Starts several anew that do the same work, one after the other: somebody always does it.
    Roll,
    /// Changes something that then starts anew.
    Restart,
    /// Switches something off that stays.
    Stop,
    /// Makes something anew that is lost, with all that it knew.
    Replace,
    /// Removes something.
    Destroy,
}

impl Step {
    /// A step of `phase` on `subject`.
    pub fn new(phase: &'static str, subject: &str, action: Action, reason: impl Into<String>) -> Self {
        Self {
            id: Self::name(phase, subject),
            phase,
            subject: subject.to_owned(),
            action,
            reason: reason.into(),
            after: Vec::new(),
            after_any: Vec::new(),
        }
    }

    /// The id of the step of `phase` on `subject`.
    pub fn name(phase: &str, subject: &str) -> String {
        format!("{phase}/{subject}")
    }

    /// The same step, waiting for others; those that are not in the plan are already true.
    #[must_use]
    pub fn after(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.after.extend(ids);
        self
    }

    /// The same step, waiting for the first of these; if one of them is not in the plan, it is already true.
    #[must_use]
    pub fn after_any(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.after_any.extend(ids);
        self
    }

    /// Whether it cannot begin before one of those steps has ended.
    fn needs(&self, open: &BTreeSet<String>) -> bool {
        let none_left = !self.after_any.is_empty() && self.after_any.iter().all(|id| open.contains(id));
        none_left || self.after.iter().any(|id| open.contains(id))
    }
}

impl Plan {
    /// Puts the steps of all phases together and forgets what none of them needs to wait for.
    pub fn new(steps: Vec<Step>) -> Self {
        let known: BTreeSet<String> = steps.iter().map(|step| step.id.clone()).collect();
        let steps = steps
            .into_iter()
            .map(|mut step| {
                step.after.retain(|id| known.contains(id));
                if !step.after_any.iter().all(|id| known.contains(id)) {
                    step.after_any.clear();
                }
                step
            })
            .collect();
        Self { steps, later: Vec::new() }
    }

    /// The same without the steps that cannot be decided yet, and without whatever would come after those.
    pub fn of_decided(steps: Vec<Step>, is_open: impl Fn(&Step) -> bool) -> Self {
        let mut open: BTreeSet<String> =
            steps.iter().filter(|step| is_open(step)).map(|step| step.id.clone()).collect();
        loop {
            let before = open.len();
            let needing = steps.iter().filter(|step| step.needs(&open)).map(|step| step.id.clone());
            open.extend(needing.collect::<Vec<_>>());
            if open.len() == before {
                break;
            }
        }
        let (mut later, mut steps): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| open.contains(&step.id));
        // One that is open is not one that is true.
        for step in &mut steps {
            step.after_any.retain(|id| !open.contains(id));
        }
        later.retain(|step| step.action.wants_consent());
        Self { later, ..Self::new(steps) }
    }

    /// What goes for good and cannot be had back, now or in a later plan of the same run.
    pub fn irrevocable(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.later).filter(|step| step.action.wants_consent())
    }

    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wait => "wait",
            Self::Create => "create",
            Self::Start => "start",
            Self::InPlace => "in place",
            Self::Roll => "roll",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Replace => "replace",
            Self::Destroy => "destroy",
        })
    }
}

impl Action {
    /// Whether something goes that cannot be had back: nobody does that without being told to.
    pub fn wants_consent(self) -> bool {
        matches!(self, Self::Replace | Self::Destroy)
    }

    /// The sign in front of a step, as people know it from diffs.
    pub fn sign(self) -> char {
        match self {
            Self::Wait => '.',
            Self::Create => '+',
            Self::Start | Self::InPlace | Self::Roll | Self::Restart | Self::Stop => '~',
            Self::Replace => '±',
            Self::Destroy => '-',
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("Nothing to do: the cluster is as the topology asks.");
        }
        let mut subjects: Vec<&str> = Vec::new();
        for step in &self.steps {
            if !subjects.contains(&step.subject.as_str()) {
                subjects.push(&step.subject);
            }
        }
        for subject in subjects {
            writeln!(f, "{subject}")?;
            for step in self.steps.iter().filter(|step| step.subject == subject) {
                writeln!(f, "  {} {:<22} {:<9} {}", step.action.sign(), step.phase, step.action, step.reason)?;
            }
        }
        let changes = self.steps.iter().filter(|step| step.action != Action::Wait).count();
        write!(f, "{changes} to change.")
    }
}

#[cfg(test)]
mod tests;
