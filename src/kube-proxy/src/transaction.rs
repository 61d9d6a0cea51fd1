//! The commands that turn one state of a table into the next, in an order that always works.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use netfilter::Family;

use crate::fragment::{Collection, ElementKey, Fragment, Verdict};
use crate::table::TABLE;

/// How many elements one nft command carries.
pub(crate) const BATCH: usize = 200;

/// The commands of one transaction, sorted into an order in which each finds what it refers to.
#[derive(Default)]
pub(crate) struct Steps {
    /// Sets of clients to make.
    pub(crate) new_sets: BTreeMap<String, u32>,
    new_chains: BTreeMap<String, Vec<String>>,
    changed_chains: BTreeMap<String, Vec<String>>,
    removed_elements: BTreeMap<Collection, Vec<String>>,
    new_elements: BTreeMap<Collection, Vec<String>>,
    removed_chains: BTreeSet<String>,
    removed_sets: BTreeSet<String>,
}

impl Steps {
    /// Adds what turns one contribution into another, but for elements.
    pub(crate) fn compare(&mut self, old: &Fragment, new: &Fragment) {
        for (chain, rules) in &new.chains {
            match old.chains.get(chain) {
                Some(before) if before == rules => {}
                Some(_) => drop(self.changed_chains.insert(chain.clone(), rules.clone())),
                None => drop(self.new_chains.insert(chain.clone(), rules.clone())),
            }
        }
        let gone = |name: &&String| !new.chains.contains_key(*name);
        self.removed_chains.extend(old.chains.keys().filter(gone).cloned());
        let fresh = |(name, _): &(&String, &u32)| !old.affinity_sets.contains_key(*name);
        self.new_sets.extend(new.affinity_sets.iter().filter(fresh).map(|(n, t)| (n.clone(), *t)));
        let gone = |name: &&String| !new.affinity_sets.contains_key(*name);
        self.removed_sets.extend(old.affinity_sets.keys().filter(gone).cloned());
    }

    /// Adds what turns one effective state of an element into another.
    pub(crate) fn element(&mut self, key: &ElementKey, before: Option<&Verdict>, after: Option<Verdict>) {
        if before == after.as_ref() {
            return;
        }
        if before.is_some() {
            self.removed_elements.entry(key.collection).or_default().push(key.key.clone());
        }
        if let Some(verdict) = after {
            let text = verdict.map_or_else(|| key.key.clone(), |v| format!("{} : {v}", key.key));
            self.new_elements.entry(key.collection).or_default().push(text);
        }
    }

    /// Writes the commands.
    pub(crate) fn write(&self, family: Family, text: &mut String) {
        let address = if family == Family::Ip { "ipv4_addr" } else { "ipv6_addr" };
        let at = format!("{family} {TABLE}");
        for (set, seconds) in &self.new_sets {
            line(
                text,
                format_args!("add set {at} {set} {{ type {address} ; flags dynamic,timeout ; timeout {seconds}s ; }}"),
            );
        }
        for chain in self.new_chains.keys() {
            line(text, format_args!("add chain {at} {chain}"));
        }
        for chain in self.changed_chains.keys() {
            line(text, format_args!("flush chain {at} {chain}"));
        }
        for (chain, rules) in self.new_chains.iter().chain(&self.changed_chains) {
            for rule in rules {
                line(text, format_args!("add rule {at} {chain} {rule}"));
            }
        }
        for (verb, elements) in [("delete", &self.removed_elements), ("add", &self.new_elements)] {
            for (collection, rows) in elements {
                for chunk in rows.chunks(BATCH) {
                    let (name, rows) = (collection.name(), chunk.join(", "));
                    line(text, format_args!("{verb} element {at} {name} {{ {rows} }}"));
                }
            }
        }
        for verb in ["flush", "delete"] {
            for chain in &self.removed_chains {
                line(text, format_args!("{verb} chain {at} {chain}"));
            }
        }
        for set in &self.removed_sets {
            line(text, format_args!("delete set {at} {set}"));
        }
    }
}

/// Writes one command.
pub(crate) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}
