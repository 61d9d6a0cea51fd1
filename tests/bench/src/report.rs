//! What came out: ours beside the peer's, and the ratio.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::config::{Config, Output};
use crate::goals;
use crate::measures::{Better, Sample};
use crate::subject::Side;

/// All samples of a run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    skipped: Vec<String>,
    about: BTreeMap<&'static str, usize>,
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    better: Better,
    values: BTreeMap<Side, Vec<f64>>,
}

impl Report {
    /// An empty one.
    pub fn new(config: &Config) -> Self {
        let about = BTreeMap::from([
            ("rounds", config.rounds),
            ("operations", config.operations),
            ("objects", config.objects),
            ("size", config.size),
            ("watchers", config.watchers),
            ("connections", config.connections),
            ("events", config.events),
            ("lists", config.lists),
        ]);
        Self { about, ..Self::default() }
    }

    /// Notes what was left out, and why.
    pub fn skip(&mut self, reason: String) {
        self.skipped.push(reason);
    }

    /// Takes in the samples of one side.
    pub fn take(&mut self, side: Side, samples: Vec<Sample>) {
        for sample in samples {
            let at = self.rows.iter().position(|row| row.name == sample.name).unwrap_or_else(|| {
                let (name, unit, better) = (sample.name, sample.unit, sample.better);
                self.rows.push(Row { name, unit, better, values: BTreeMap::new() });
                self.rows.len() - 1
            });
            self.rows[at].values.entry(side).or_default().push(sample.value);
        }
    }

    /// Prints it.
    #[expect(clippy::print_stdout, reason = "the report is what this program is for")]
    pub fn print(&self, output: Output) {
        match output {
            Output::Text => print!("{self}"),
            Output::Json => println!("{:#}", self.to_json()),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let rows: Vec<_> = self.rows.iter().map(Row::to_json).collect();
        json!({"settings": self.about, "measurements": rows, "skipped": self.skipped})
    }
}

impl Row {
    /// The best round: what else a machine does only ever adds.
    fn best(&self, side: Side) -> Option<f64> {
        let mut values = self.values.get(&side)?.clone();
        values.sort_by(f64::total_cmp);
        match self.better {
            Better::Less => values.first().copied(),
            Better::More => values.last().copied(),
            Better::Told => values.get(values.len() / 2).copied(),
        }
    }

    /// How many times better ours is.
    fn ratio(&self) -> Option<f64> {
        let (ours, peer) = (self.best(Side::Ours)?, self.best(Side::Peer)?);
        match self.better {
            Better::Less => (ours > 0.0).then(|| peer / ours),
            Better::More => (peer > 0.0).then(|| ours / peer),
            Better::Told => None,
        }
    }

    /// Whether its goal is reached; unknown if it has none.
    fn reached(&self) -> Option<bool> {
        goals::of(&self.name)?.is_reached(self.best(Side::Ours), self.ratio())
    }

    fn to_json(&self) -> serde_json::Value {
        let better = match self.better {
            Better::Less => "less",
            Better::More => "more",
            Better::Told => "told",
        };
        json!({
            "name": self.name,
            "unit": self.unit,
            "better": better,
            "ours": self.best(Side::Ours),
            "peer": self.best(Side::Peer),
            "timesBetter": self.ratio(),
            "goal": goals::of(&self.name).map(|goal| goal.to_string()),
            "reached": self.reached(),
            "samples": {"ours": self.values.get(&Side::Ours), "peer": self.values.get(&Side::Peer)},
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        writeln!(f, "{:width$}  {:>8}  {:>8}  {:>10}  {:>10}  unit", "", "times", "goal", "ours", "peer")?;
        for row in &self.rows {
            let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{}×", rounded(ratio)));
            let told = |side| row.best(side).map_or_else(|| "-".to_owned(), rounded);
            let (ours, peer) = (told(Side::Ours), told(Side::Peer));
            let goal = goals::of(&row.name).map_or_else(String::new, |goal| goal.to_string());
            let missed = if row.reached() == Some(false) { "  <- not reached" } else { "" };
            let (name, unit) = (&row.name, row.unit);
            writeln!(f, "{name:width$}  {ratio:>8}  {goal:>8}  {ours:>10}  {peer:>10}  {unit}{missed}")?;
        }
        for reason in &self.skipped {
            writeln!(f, "skipped: {reason}")?;
        }
        Ok(())
    }
}

/// Three digits that count.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Tells how far the run is.
#[expect(clippy::print_stderr, reason = "a run takes minutes, and the report alone goes to standard output")]
pub fn progress(text: fmt::Arguments<'_>) {
    eprintln!("{text}");
}

/// Tells why there is no report.
pub fn complain(error: &anyhow::Error) {
    progress(format_args!("bench: {error:#}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, better: Better, value: f64) -> Sample {
        Sample { name: name.to_owned(), unit: "µs", better, value }
    }

    #[test]
    fn the_best_round_of_each_side_makes_the_ratio() {
        let mut report = Report::default();
        for value in [12.0, 1000.0, 10.0] {
            report.take(Side::Ours, vec![sample("get", Better::Less, value), sample("rate", Better::More, value)]);
        }
        report.take(Side::Peer, vec![sample("get", Better::Less, 120.0), sample("rate", Better::More, 4.0)]);
        assert_eq!(report.rows[0].ratio(), Some(12.0));
        assert_eq!(report.rows[1].ratio(), Some(250.0));
        assert_eq!(report.to_json()["measurements"][0]["timesBetter"], 12.0);
    }

    #[test]
    fn without_a_peer_there_is_no_ratio_and_the_reason_is_told() {
        let mut report = Report::default();
        report.take(Side::Ours, vec![sample("get", Better::Less, 1.0)]);
        report.skip("no peer".to_owned());
        let text = report.to_string();
        assert!(text.contains("skipped: no peer") && text.contains(" -  "), "{text}");
    }
}
