//! A plan that was kept in a file, to be carried out later exactly as it was shown.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::desired::Desired;
use crate::exit::{Exit, Refusal};
use crate::inventory::Inventory;
use crate::plan::Plan;
use crate::state::write_private;

/// The version of the file.
const FORMAT: u32 = 1;
/// More differences than that help nobody.
const MOST_SHOWN: usize = 12;

/// A plan with what it was made from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeptPlan {
    format: u32,
    /// The cluster.
    pub(crate) cluster: String,
    made: jiff::Timestamp,
    /// What was asked for, with every default written down.
    pub(crate) topology: String,
    topology_hash: String,
    /// What was seen.
    inventory_hash: String,
    /// Tag of the node programs.
    components: String,
    /// The steps, as `provision plan --output json` shows them.
    steps: Vec<serde_json::Value>,
}

impl KeptPlan {
    pub(crate) fn new(desired: &Desired, seen: &Inventory, plan: &Plan) -> Result<Self> {
        let topology = desired.topology.to_yaml();
        Ok(Self {
            format: FORMAT,
            cluster: desired.topology.name().to_owned(),
            made: jiff::Timestamp::now(),
            topology_hash: hash(&topology),
            topology,
            inventory_hash: hash(&format!("{seen:?}")),
            components: desired.components.tag.clone(),
            steps: steps(plan)?,
        })
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("cannot write the plan as JSON")?;
        write_private(&std::path::absolute(file)?, &text)
    }

    /// Reads a plan that was kept.
    ///
    /// # Errors
    /// There is no such file, it is none of ours, or somebody has changed it.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let refuse = |exit, why: String| {
            Refusal::new(exit, format!("{}: {why}", file.display()))
                .hint("make it anew with `provision plan FILE --out PLANFILE`")
        };
        let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse(Exit::NotFound, "there is no such file".to_owned()),
            _ => refuse(Exit::Failed, error.to_string()),
        })?;
        let kept: Self = serde_json::from_str(&text)
            .map_err(|error| refuse(Exit::Unconfirmed, format!("is not a plan that was kept ({error})")))?;
        if kept.format != FORMAT {
            let why = format!("has format {}, this release reads {FORMAT}", kept.format);
            return Err(refuse(Exit::Unconfirmed, why).into());
        }
        if kept.topology_hash != hash(&kept.topology) {
            return Err(refuse(Exit::Unconfirmed, "its topology was changed since it was kept".to_owned()).into());
        }
        Ok(kept)
    }

    /// Lets exactly this plan pass.
    ///
    /// # Errors
    /// [`Exit::Unconfirmed`] with every step that differs.
    pub(crate) fn check(&self, components: &str, plan: &Plan) -> Result<()> {
        let fresh = steps(plan)?;
        if fresh == self.steps {
            return Ok(());
        }
        let mut differences = differences(&self.steps, &fresh);
        let more = differences.len().saturating_sub(MOST_SHOWN);
        differences.truncate(MOST_SHOWN);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        let cause =
            if components == self.components { "the cluster has changed" } else { "the node programs are others" };
        let message = format!(
            "what is to be done is not what was planned on {}, {cause} since:\n  {}",
            self.made.strftime("%F %T UTC"),
            differences.join("\n  ")
        );
        Err(Refusal::new(Exit::Unconfirmed, message)
            .hint("look at `provision plan FILE` again, and keep that plan")
            .into())
    }

    /// Lets a run carry out this plan and nothing else; rounds are counted from 0.
    ///
    /// # Errors
    /// [`Exit::Unconfirmed`] if the first round has other steps, or a further one has any.
    pub(crate) fn admit(&self, round: usize, components: &str, plan: &Plan) -> Result<()> {
        if round == 0 { self.check(components, plan) } else { Err(Self::refuse_more(plan)) }
    }

    /// What a further round finds to do was not in the plan.
    fn refuse_more(plan: &Plan) -> anyhow::Error {
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).take(MOST_SHOWN).collect();
        let message = format!("the plan was carried out and more is left to do: {}", steps.join(", "));
        Refusal::new(Exit::Unconfirmed, message).hint("`provision plan FILE` shows it; apply the file to go on").into()
    }
}

fn steps(plan: &Plan) -> Result<Vec<serde_json::Value>> {
    plan.steps.iter().map(|step| serde_json::to_value(step).context("cannot write a step as JSON")).collect()
}

fn differences(kept: &[serde_json::Value], fresh: &[serde_json::Value]) -> Vec<String> {
    let mut differences = Vec::new();
    let with_id = |steps: &[serde_json::Value], id: &str| steps.iter().find(|step| step["id"] == id).cloned();
    let id = |step: &serde_json::Value| step["id"].as_str().unwrap_or("a step without a name").to_owned();
    for step in kept {
        match with_id(fresh, &id(step)) {
            None => differences.push(format!("no longer to do: {}", id(step))),
            Some(other) if other != *step => {
                differences.push(format!("otherwise: {}, {}", id(step), changed(step, &other)));
            }
            Some(_) => {}
        }
    }
    let new = fresh.iter().filter(|step| with_id(kept, &id(step)).is_none());
    differences.extend(new.map(|step| format!("new: {} ({})", id(step), step["reason"].as_str().unwrap_or_default())));
    if differences.is_empty() {
        differences.push("the order of the steps".to_owned());
    }
    differences
}

fn changed(kept: &serde_json::Value, fresh: &serde_json::Value) -> String {
    let fields = ["action", "reason", "after", "afterAny"].into_iter().filter(|field| kept[field] != fresh[field]);
    fields.map(|field| format!("{field} {} is now {}", kept[field], fresh[field])).collect::<Vec<_>>().join(", ")
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
