//! Kernel switches under `/proc/sys`.

use std::path::Path;

/// Why a switch could not be set.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The switch does not exist; a kernel module may be missing.
    #[error("the kernel has no switch {name}")]
    Missing {
        /// Dotted or slashed name below `/proc/sys`.
        name: String,
    },
    /// Reading or writing failed.
    #[error("cannot set {name} to {value}")]
    Access {
        /// Name below `/proc/sys`.
        name: String,
        /// The wanted value.
        value: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// Makes the switch `name` (`net/ipv4/ip_forward`) hold `value`; writes only if it differs.
///
/// Returns whether it had to be changed.
pub fn ensure(name: &str, value: &str) -> Result<bool, SysctlError> {
    ensure_below(Path::new("/proc/sys"), name, value)
}

fn ensure_below(root: &Path, name: &str, value: &str) -> Result<bool, SysctlError> {
    let path = root.join(name);
    let current = std::fs::read_to_string(&path).map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            SysctlError::Missing { name: name.to_owned() }
        } else {
            SysctlError::Access { name: name.to_owned(), value: value.to_owned(), source }
        }
    })?;
    if current.trim() == value {
        return Ok(false);
    }
    std::fs::write(&path, value).map_err(|source| SysctlError::Access {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_written_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("ip_forward"), "0\n").unwrap();
        assert!(ensure_below(root.path(), "ip_forward", "1").unwrap());
        assert!(!ensure_below(root.path(), "ip_forward", "1").unwrap());
    }

    #[test]
    fn a_missing_switch_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = ensure_below(root.path(), "bridge", "1").unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no switch bridge");
    }
}
