//! When a resource of the node is short. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::time::Instant;

use crate::config::file::KubeletConfiguration;
use crate::pod::amount;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Bytes of memory.
    Memory,
    /// Bytes of the file system that holds pods.
    NodeDisk,
    /// Files of the file system that holds pods.
    NodeInodes,
    /// Bytes of the file system that holds images.
    ImageDisk,
    /// Files of the file system that holds images.
    ImageInodes,
    /// Processes.
    Pids,
}

/// What a node lacks, as its conditions tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pids,
}

impl Shortage {
    /// The type of the condition.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }
}

impl Signal {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Memory, "memory.available"),
        (Self::NodeDisk, "nodefs.available"),
        (Self::NodeInodes, "nodefs.inodesFree"),
        (Self::ImageDisk, "imagefs.available"),
        (Self::ImageInodes, "imagefs.inodesFree"),
        (Self::Pids, "pid.available"),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(signal, _)| *signal)
    }

    /// The resource, as users know it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeDisk | Self::ImageDisk => "ephemeral-storage",
            Self::NodeInodes | Self::ImageInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// The shortage it tells of.
    pub fn shortage(self) -> Shortage {
        match self {
            Self::Memory => Shortage::Memory,
            Self::Pids => Shortage::Pids,
            _ => Shortage::Disk,
        }
    }
}

/// An amount, or a part of the whole in thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes, files, processes.
    Fixed(i64),
    /// A part.
    Part(i64),
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        let Some(percent) = text.strip_suffix('%') else {
            return amount::units(&Quantity(text.to_owned())).filter(|amount| *amount >= 0).map(Self::Fixed);
        };
        let part = amount::millis(&Quantity(percent.to_owned()))?;
        (0..=100_000).contains(&part).then_some(Self::Part(part))
    }

    /// The amount of this whole.
    pub fn of(self, whole: i64) -> i64 {
        match self {
            Self::Fixed(amount) => amount,
            Self::Part(part) => i64::try_from(i128::from(whole) * i128::from(part) / 100_000).unwrap_or(i64::MAX),
        }
    }
}

/// A bound below which pods are evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// What is measured.
    pub signal: Signal,
    /// The bound.
    pub least: Amount,
    /// How long it may be short; none at all is a hard threshold.
    pub grace: Option<Duration>,
    /// How much more must be free before the shortage is over.
    pub reclaim: Amount,
}

/// When and how pods are evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvictionSettings {
    /// The bounds.
    pub thresholds: Vec<Threshold>,
    /// The most grace a pod gets at a soft threshold.
    pub most_grace: i64,
    /// How long a condition stays after its shortage is over.
    pub transition: Duration,
}

/// Upstream's hard thresholds.
const HARD: [(&str, &str); 5] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];

impl EvictionSettings {
    /// Reads `evictionHard` and its kin; the error names the field.
    pub fn of(file: &KubeletConfiguration) -> Result<Self, String> {
        let usual: BTreeMap<String, String> =
            HARD.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let empty = BTreeMap::new();
        let hard = file.eviction_hard.as_ref().unwrap_or(&usual);
        let soft = file.eviction_soft.as_ref().unwrap_or(&empty);
        let graces = file.eviction_soft_grace_period.as_ref().unwrap_or(&empty);
        let reclaim = file.eviction_minimum_reclaim.as_ref().unwrap_or(&empty);
        let mut thresholds = Vec::new();
        for (field, bounds) in [("evictionHard", hard), ("evictionSoft", soft)] {
            for (name, value) in bounds {
                let signal = Signal::parse(name).ok_or_else(|| format!("{field}: {name:?} is no signal"))?;
                let grace = if field == "evictionSoft" {
                    let text = graces.get(name).ok_or_else(|| format!("evictionSoftGracePeriod: lacks {name}"))?;
                    let grace = component_base::flags::duration(text);
                    Some(grace.map_err(|error| format!("evictionSoftGracePeriod: {name}: {error}"))?)
                } else {
                    None
                };
                let least = Amount::parse(value).ok_or_else(|| format!("{field}: {name}: {value:?} is no amount"))?;
                let more = reclaim.get(name).map_or("0", String::as_str);
                let reclaim = Amount::parse(more)
                    .ok_or_else(|| format!("evictionMinimumReclaim: {name}: {more:?} is no amount"))?;
                thresholds.push(Threshold { signal, least, grace, reclaim });
            }
        }
        let transition = file.eviction_pressure_transition_period.as_deref().unwrap_or("5m");
        let transition = component_base::flags::duration(transition)
            .map_err(|error| format!("evictionPressureTransitionPeriod: {error}"))?;
        let most_grace = i64::from(file.eviction_max_pod_grace_period.unwrap_or(0));
        Ok(Self { thresholds, most_grace, transition })
    }

    /// What is kept back of a resource for the hard threshold.
    pub fn kept(&self, signal: Signal, whole: i64) -> i64 {
        let hard = self.thresholds.iter().find(|threshold| threshold.signal == signal && threshold.grace.is_none());
        hard.map_or(0, |threshold| threshold.least.of(whole))
    }
}

/// What is free of what there is.
pub type Measured = BTreeMap<Signal, (i64, i64)>;

/// A threshold that is met, with what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// The threshold.
    pub threshold: Threshold,
    /// What is free.
    pub free: i64,
    /// All there is.
    pub whole: i64,
}

/// Which thresholds are met, and since when.
#[derive(Debug, Default)]
pub struct Watched {
    since: Vec<(Threshold, Instant)>,
    lately: BTreeMap<Shortage, Instant>,
}

impl Watched {
    /// Takes a measurement in; answers the thresholds that are met.
    pub fn take(&mut self, settings: &EvictionSettings, measured: &Measured, now: Instant) -> Vec<Met> {
        let before = std::mem::take(&mut self.since);
        let mut met = Vec::new();
        for threshold in &settings.thresholds {
            let Some((free, whole)) = measured.get(&threshold.signal).copied() else { continue };
            let known = before.iter().find(|(known, _)| known == threshold).map(|(_, since)| *since);
            // Once met, a threshold is left behind by a margin.
            let margin = if known.is_some() { threshold.reclaim.of(whole) } else { 0 };
            if free < threshold.least.of(whole).saturating_add(margin) {
                self.since.push((*threshold, known.unwrap_or(now)));
                self.lately.insert(threshold.signal.shortage(), now);
                met.push(Met { threshold: *threshold, free, whole });
            }
        }
        met
    }

    /// Of the thresholds that are met, those whose grace is over.
    pub fn due(&self, met: Vec<Met>, now: Instant) -> Vec<Met> {
        let since = |threshold: &Threshold| self.since.iter().find(|(known, _)| known == threshold).map(|(_, at)| *at);
        let over = |met: &Met| {
            let grace = met.threshold.grace.unwrap_or(Duration::ZERO);
            since(&met.threshold).is_some_and(|since| now.saturating_duration_since(since) >= grace)
        };
        met.into_iter().filter(over).collect()
    }

    /// What the node lacks, or lacked a moment ago.
    pub fn shortages(&self, settings: &EvictionSettings, now: Instant) -> Vec<Shortage> {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < settings.transition || *at == now;
        self.lately.iter().filter(|(_, at)| recent(at)).map(|(shortage, _)| *shortage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(fields: &[(&str, &str)]) -> Result<EvictionSettings, String> {
        let head = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n".to_owned();
        let lines = fields.iter().map(|(field, value)| format!("{field}: {value}\n"));
        let text: String = std::iter::once(head).chain(lines).collect();
        EvictionSettings::of(&crate::config::file::parse(&text).unwrap())
    }

    fn memory(free: i64) -> Measured {
        [(Signal::Memory, (free, 1000))].into()
    }

    #[test]
    fn thresholds_are_upstreams_and_wrong_ones_name_their_field() {
        let usual = settings(&[]).unwrap();
        assert_eq!(usual.kept(Signal::Memory, 1 << 30), 100 << 20);
        assert_eq!(usual.kept(Signal::ImageDisk, 1000), 150);
        assert_eq!(usual.transition, Duration::from_mins(5));
        assert!(settings(&[("evictionHard", "{memory: 1Mi}")]).unwrap_err().contains("evictionHard"));
        assert!(settings(&[("evictionHard", "{memory.available: 101%}")]).unwrap_err().contains("evictionHard"));
        let soft = settings(&[("evictionSoft", "{memory.available: 1Mi}")]);
        assert!(soft.unwrap_err().contains("evictionSoftGracePeriod"));
        assert_eq!(Amount::parse("7.5%").unwrap().of(1000), 75);
    }

    #[test]
    fn a_shortage_is_over_only_with_a_margin_and_is_told_for_a_while_longer() {
        let settings = settings(&[
            ("evictionHard", "{memory.available: '100'}"),
            ("evictionMinimumReclaim", "{memory.available: '50'}"),
            ("evictionPressureTransitionPeriod", "1m"),
        ])
        .unwrap();
        let (mut watched, start) = (Watched::default(), Instant::now());
        let mut take = |free, seconds| {
            let now = start + Duration::from_secs(seconds);
            let met = watched.take(&settings, &memory(free), now);
            (watched.due(met, now).len(), watched.shortages(&settings, now))
        };
        assert_eq!(take(100, 0), (0, vec![]));
        assert_eq!(take(99, 10), (1, vec![Shortage::Memory]));
        assert_eq!(take(149, 20).0, 1, "not enough was given back");
        assert_eq!(take(150, 30), (0, vec![Shortage::Memory]));
        assert_eq!(take(100, 79), (0, vec![Shortage::Memory]));
        assert_eq!(take(100, 81), (0, vec![]));
    }

    #[test]
    fn a_soft_threshold_has_to_be_met_for_its_grace_without_a_break() {
        let settings = settings(&[
            ("evictionHard", "{}"),
            ("evictionSoft", "{memory.available: 10%}"),
            ("evictionSoftGracePeriod", "{memory.available: 30s}"),
        ])
        .unwrap();
        let (mut watched, start) = (Watched::default(), Instant::now());
        let mut due = |free, seconds| {
            let now = start + Duration::from_secs(seconds);
            let met = watched.take(&settings, &memory(free), now);
            watched.due(met, now).len()
        };
        assert_eq!((due(50, 0), due(50, 20), due(200, 25)), (0, 0, 0));
        assert_eq!((due(50, 30), due(50, 59), due(50, 60)), (0, 0, 1));
    }
}
