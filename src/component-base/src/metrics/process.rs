//! What every program tells of itself: its build, and the time, memory and files it uses.

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::version;

/// Parts of a second in which Linux counts processor time for programs, whatever it uses itself.
const TICKS: f64 = 100.0;

/// Looks into `/proc` when it is asked.
#[derive(Debug)]
pub(super) struct Process;

/// What `/proc/self` says.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    /// Seconds since 1970.
    started: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let info = version::info();
        let labels = [
            ("build_date", info.build_date),
            ("compiler", info.compiler),
            ("git_commit", info.git_commit),
            ("git_tree_state", info.git_tree_state),
            ("git_version", info.git_version),
            ("go_version", info.go_version),
            ("major", info.major),
            ("minor", info.minor),
            ("platform", &info.platform),
        ];
        let about = "What this program was built from";
        let mut family = encoder.encode_descriptor("kubernetes_build_info", about, None, MetricType::Gauge)?;
        family.encode_family(&labels)?.encode_gauge(&1_i64)?;
        let Some(usage) = usage() else { return Ok(()) };
        let about = "Processor time, in seconds";
        let mut counter = encoder.encode_descriptor("process_cpu_seconds", about, None, MetricType::Counter)?;
        counter.encode_counter::<NoLabelSet, f64, f64>(&usage.cpu_seconds, None)?;
        for (name, about, value) in [
            ("process_resident_memory_bytes", "Memory in use, in bytes", Some(usage.resident_bytes)),
            ("process_virtual_memory_bytes", "Memory that is mapped, in bytes", Some(usage.virtual_bytes)),
            ("process_start_time_seconds", "When it started, in seconds since 1970", Some(usage.started)),
            ("process_open_fds", "Open files", open_files()),
            ("process_max_fds", "Files it may open", most_files()),
        ] {
            if let Some(value) = value {
                encoder.encode_descriptor(name, about, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

fn usage() -> Option<Usage> {
    static BOOT: OnceLock<f64> = OnceLock::new();
    let boot = *BOOT.get_or_init(|| boot_time().unwrap_or_default());
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    parse(&read("stat")?, &read("status")?, boot)
}

/// Reads `stat`, in which the name of the program may have spaces and brackets, and `status`.
fn parse(stat: &str, status: &str, boot: f64) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    // `man 5 proc` counts from 1 and two fields are gone already.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
    };
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) / TICKS,
        started: boot + field(22)? / TICKS,
        virtual_bytes: bytes("VmSize:")?,
        resident_bytes: bytes("VmRSS:")?,
    })
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(count).ok().map(f64::from)
}

fn most_files() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let number = |number: i32| if number == 3 { "S".to_owned() } else { (number * 100).to_string() };
        let rest: Vec<String> = (3..=52).map(number).collect();
        let line = format!("7 (a ) b) {}", rest.join(" "));
        let usage = parse(&line, "Name:\ta\nVmSize:\t    8 kB\nVmRSS:\t 4 kB\n", 1000.0).unwrap();
        let wanted = Usage { cpu_seconds: 29.0, started: 1022.0, virtual_bytes: 8192.0, resident_bytes: 4096.0 };
        assert_eq!(usage, wanted);
        assert_eq!(parse("7 (a", "", 1.0), None);
    }

    #[test]
    fn this_program_is_told_of() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Process));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "kubernetes_build_info{",
        ] {
            assert!(text.contains(&format!("\n{name}")), "{name}: {text}");
        }
    }
}
