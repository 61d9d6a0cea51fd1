//! The version every program reports.

use serde::Serialize;

/// Kubernetes level and, as build metadata, the release of this project.
pub const GIT_VERSION: &str = "v1.35.0+provision.0.1.0";

/// The text of `--version`.
pub const VERSION_LINE: &str = "Kubernetes v1.35.0+provision.0.1.0";

/// The answer of `/version`, as `kubectl version -o json` shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Major Kubernetes version.
    pub major: &'static str,
    /// Minor Kubernetes version.
    pub minor: &'static str,
    /// Full version with build metadata.
    pub git_version: &'static str,
    /// Commit the binary was built from, empty if the build did not say.
    pub git_commit: &'static str,
    /// `clean` or `dirty`.
    pub git_tree_state: &'static str,
    /// Time of the build; a constant unless the build names one, so that builds can be reproduced.
    pub build_date: &'static str,
    /// The compiler's version; the field is named after upstream's language.
    pub go_version: &'static str,
    /// Name of the compiler.
    pub compiler: &'static str,
    /// `os/architecture` in Kubernetes' words.
    pub platform: String,
}

/// Describes this build.
pub fn info() -> VersionInfo {
    VersionInfo {
        major: "1",
        minor: "35",
        git_version: GIT_VERSION,
        git_commit: option_env!("PROVISION_GIT_COMMIT").unwrap_or(""),
        git_tree_state: option_env!("PROVISION_GIT_TREE_STATE").unwrap_or("clean"),
        build_date: option_env!("PROVISION_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        go_version: concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")),
        compiler: "rustc",
        platform: format!("{}/{}", std::env::consts::OS, architecture()),
    }
}

/// The architecture of this machine in Kubernetes' words (`amd64`, `arm64`).
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_line_is_the_git_version_with_a_prefix() {
        assert_eq!(VERSION_LINE, format!("Kubernetes {GIT_VERSION}"));
    }

    #[test]
    fn version_info_has_the_field_names_kubectl_reads() {
        let value = serde_json::to_value(info()).unwrap();
        for field in [
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ] {
            assert!(value[field].is_string(), "{field}");
        }
    }
}
