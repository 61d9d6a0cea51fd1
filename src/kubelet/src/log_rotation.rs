//! Logs of containers that have grown too long are put aside, and the oldest of those removed.
//!
//! The file is renamed first and the runtime asked to open a new one, so no line is lost and readers that follow the old
//! one see its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::api::ContainerState;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::file::KubeletConfiguration;
use crate::node_context::NodeContext;
use crate::paths::container_log_path;
use crate::pod::amount;
use crate::pod::identity;

/// When logs are put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLimits {
    /// The size from which a log is put aside, in bytes; none never.
    pub size: Option<u64>,
    /// How many files of one container stay, the current one included.
    pub files: usize,
    /// Between two looks.
    pub interval: Duration,
}

impl LogLimits {
    /// Reads `containerLogMaxSize`, `containerLogMaxFiles` and `containerLogMonitorInterval`; the error names the field.
    pub fn of(file: &KubeletConfiguration) -> Result<Self, String> {
        let size = file.container_log_max_size.as_deref().unwrap_or("10Mi");
        let bytes = match size {
            "-1" => None,
            text => {
                let bytes = amount::units(&Quantity(text.to_owned())).and_then(|bytes| u64::try_from(bytes).ok());
                let bytes = bytes.filter(|bytes| *bytes > 0);
                Some(bytes.ok_or_else(|| format!("containerLogMaxSize: {text:?} is no size"))?)
            }
        };
        let files = file.container_log_max_files.unwrap_or(5);
        let files = usize::try_from(files).ok().filter(|files| *files > 1);
        let interval = file.container_log_monitor_interval.as_deref().unwrap_or("10s");
        let interval = component_base::flags::duration(interval)
            .map_err(|error| format!("containerLogMonitorInterval: {error}"))?;
        Ok(Self {
            size: bytes,
            files: files.ok_or("containerLogMaxFiles: at least 2 files are needed")?,
            interval: interval.max(Duration::from_secs(3)),
        })
    }
}

/// Looks after the logs until the token is cancelled. Nothing tells when a file grows, so it looks from time to time.
pub async fn run(node: Arc<NodeContext>, limits: LogLimits, token: CancellationToken) {
    let Some(size) = limits.size else { return };
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(limits.interval) => {}
        }
        if let Err(error) = pass(&node, size, limits.files).await {
            tracing::debug!(%error, "logs were not looked after");
        }
    }
}

pub(crate) async fn pass(node: &NodeContext, size: u64, files: usize) -> Result<(), cri::CriError> {
    for container in node.runtime.list_containers(cri::Labels::new()).await? {
        if container.state != ContainerState::ContainerRunning as i32 {
            continue;
        }
        let Some(log) = log_of(node.paths.logs(), &container) else { continue };
        if std::fs::metadata(&log).map_or(0, |meta| meta.len()) < size {
            continue;
        }
        let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
        let aside = with_suffix(&log, &stamp);
        if let Err(error) = std::fs::rename(&log, &aside) {
            tracing::warn!(log = %log.display(), %error, "the log was not put aside");
            continue;
        }
        if let Err(error) = node.runtime.reopen_container_log(container.id.clone()).await {
            // The runtime still writes to the old file: it gets its name back.
            tracing::warn!(log = %log.display(), %error, "no new log was begun");
            let _ = std::fs::rename(&aside, &log);
            continue;
        }
        if let Err(error) = drop_oldest(&log, files - 1) {
            tracing::warn!(log = %log.display(), %error, "old logs were not removed");
        }
    }
    Ok(())
}

fn log_of(logs: &Path, container: &cri::api::Container) -> Option<PathBuf> {
    let label = |key: &str| container.labels.get(key);
    let folder =
        format!("{}_{}_{}", label(identity::POD_NAMESPACE)?, label(identity::POD_NAME)?, label(identity::POD_UID)?);
    let attempt = container.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    Some(logs.join(folder).join(container_log_path(label(identity::CONTAINER_NAME)?, attempt)))
}

fn with_suffix(log: &Path, suffix: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes all but the newest `keep` files that were put aside; their names sort by time.
fn drop_oldest(log: &Path, keep: usize) -> io::Result<()> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let prefix = format!("{name}.");
    let mut aside: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix)))
        .collect();
    aside.sort();
    let surplus = aside.len().saturating_sub(keep);
    aside.into_iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_upstreams_unless_given_and_wrong_ones_name_their_field() {
        let limits = LogLimits::of(&KubeletConfiguration::default()).unwrap();
        assert_eq!((limits.size, limits.files, limits.interval), (Some(10 << 20), 5, Duration::from_secs(10)));
        let with = |size: &str, files| KubeletConfiguration {
            container_log_max_size: Some(size.to_owned()),
            container_log_max_files: files,
            ..KubeletConfiguration::default()
        };
        assert_eq!(LogLimits::of(&with("-1", None)).unwrap().size, None);
        assert!(LogLimits::of(&with("much", None)).unwrap_err().contains("containerLogMaxSize"));
        assert!(LogLimits::of(&with("1Mi", Some(1))).unwrap_err().contains("containerLogMaxFiles"));
    }

    #[test]
    fn only_the_newest_files_stay_and_those_of_others_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        for name in ["0.log", "0.log.20260101-000000", "0.log.20260102-000000", "0.log.20260103-000000", "1.log"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        drop_oldest(&log, 2).unwrap();
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["0.log", "0.log.20260102-000000", "0.log.20260103-000000", "1.log"]);
    }
}
