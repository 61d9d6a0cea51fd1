//! Asks before anything is removed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::exit::{Exit, Refusal};
use crate::plan::{Plan, Step};

/// What the user has agreed to in one run.
pub(super) struct Consent<'a> {
    cluster: &'a str,
    /// Agreed to everything beforehand.
    yes: bool,
    agreed: Mutex<BTreeSet<String>>,
}

impl<'a> Consent<'a> {
    pub(super) fn new(cluster: &'a str, yes: bool) -> Self {
        Self { cluster, yes, agreed: Mutex::default() }
    }

    /// Whether this plan makes a question necessary.
    pub(super) fn will_ask(&self, plan: &Plan) -> bool {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        !self.yes && plan.irrevocable().any(|step| !agreed.contains(&step.id))
    }

    /// Lets a plan pass that destroys and replaces nothing, or nothing that was not agreed to; asks otherwise.
    ///
    /// # Errors
    /// [`Exit::Unconfirmed`] if there is nobody to ask, or the answer is no.
    pub(super) fn ask(&self, plan: &Plan) -> Result<()> {
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&Step> = plan.irrevocable().filter(|step| !agreed.contains(&step.id)).collect();
        if !self.yes && !new.is_empty() {
            confirm(self.cluster, &format!("This cannot be undone:\n{}", listed(&new)))?;
        }
        agreed.extend(new.into_iter().map(|step| step.id.clone()));
        Ok(())
    }
}

/// A line for each machine, with everything that goes of it.
fn listed(steps: &[&Step]) -> String {
    let mut machines: Vec<(&str, Vec<&str>, &str)> = Vec::new();
    for step in steps {
        match machines.iter_mut().find(|(subject, ..)| *subject == step.subject) {
            Some((_, phases, _)) => phases.push(step.phase),
            None => machines.push((&step.subject, vec![step.phase], &step.reason)),
        }
    }
    let line = |(subject, phases, reason): &(&str, Vec<&str>, &str)| {
        format!("  - {subject}: {} ({reason})", phases.join(", ").replace('-', " "))
    };
    machines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Wants the name of the cluster typed below `what`.
pub(super) fn confirm(cluster: &str, what: &str) -> Result<()> {
    let refuse = |why: &str| {
        Refusal::new(Exit::Unconfirmed, why.to_owned()).hint("type the cluster's name when asked, or give --yes")
    };
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{what}")?;
    if !std::io::stdin().is_terminal() {
        return Err(refuse("this wants a confirmation, and there is nobody to answer; nothing of it was done").into());
    }
    write!(stderr, "\nType the name of the cluster ({cluster}) to go on: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == cluster {
        Ok(())
    } else {
        Err(refuse("that is not the cluster's name; nothing of it was done").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::classify;
    use crate::plan::Action;

    fn plan(actions: &[(&str, Action)]) -> Plan {
        Plan::new(actions.iter().map(|(subject, action)| Step::new("p", subject, *action, "why")).collect())
    }

    #[test]
    fn what_goes_is_told_by_machine() {
        let steps = [("leave-etcd", "lab-1"), ("retire-machine", "lab-1"), ("retire-machine", "lab-2")];
        let steps = steps.map(|(phase, subject)| Step::new(phase, subject, Action::Destroy, "nobody asks for it"));
        assert_eq!(
            listed(&steps.iter().collect::<Vec<_>>()),
            "  - lab-1: leave etcd, retire machine (nobody asks for it)\n  - lab-2: retire machine (nobody asks for it)"
        );
    }

    // Tests have no terminal: whatever is asked is refused.
    #[test]
    fn what_destroys_nothing_is_not_asked_for() {
        let harmless = plan(&[("a", Action::Create), ("b", Action::Restart), ("c", Action::Roll), ("d", Action::Wait)]);
        Consent::new("demo", false).ask(&harmless).unwrap();
    }

    #[test]
    fn what_destroys_is_asked_for_unless_it_was_agreed_to_before() {
        let destroys = plan(&[("a", Action::Destroy)]);
        let error = Consent::new("demo", false).ask(&destroys).unwrap_err();
        assert_eq!(classify(&error), Exit::Unconfirmed);
        assert!(crate::exit::hint(&error).unwrap().contains("--yes"));
        Consent::new("demo", true).ask(&destroys).unwrap();
        let replaces = plan(&[("a", Action::Replace)]);
        assert!(Consent::new("demo", false).will_ask(&replaces));
        assert_eq!(classify(&Consent::new("demo", false).ask(&replaces).unwrap_err()), Exit::Unconfirmed);
        let consent = Consent::new("demo", false);
        consent.agreed.lock().unwrap().insert("p/a".to_owned());
        consent.ask(&destroys).unwrap();
        assert!(consent.ask(&plan(&[("a", Action::Destroy), ("b", Action::Destroy)])).is_err());
    }

    #[test]
    fn what_goes_once_more_is_known_is_asked_for_with_the_rest_and_not_again() {
        let goes = Step::new("retire-machine", "lab-2", Action::Destroy, "it is asked for no more");
        let starts = Step::new("create-machine", "lab-2", Action::Start, "it is switched off");
        let first = Plan { later: vec![goes.clone()], ..Plan::new(vec![starts]) };
        let consent = Consent::new("lab", false);
        assert!(consent.will_ask(&first));
        assert_eq!(classify(&consent.ask(&first).unwrap_err()), Exit::Unconfirmed);
        let consent = Consent::new("lab", true);
        consent.ask(&first).unwrap();
        let consent = Consent { yes: false, ..consent };
        assert!(!consent.will_ask(&Plan::new(vec![goes])));
    }
}
