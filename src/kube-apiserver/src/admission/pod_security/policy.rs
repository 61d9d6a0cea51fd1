//! What a namespace asks of its pods: a level and a version of the Pod Security Standards for each of three modes.

use std::fmt;

use apimachinery::field::{FieldError, Path};
use apimachinery::value::Map;

/// The minor version whose standards `latest` means.
pub(crate) const CURRENT_MINOR: u32 = 35;
/// The prefix of the labels of a namespace.
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict a policy is; the order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything is allowed.
    Privileged,
    /// What is known to escalate privileges is refused.
    Baseline,
    /// Pods must be hardened.
    Restricted,
}

impl Level {
    /// The level of a word.
    ///
    /// # Errors
    /// The words that would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted".to_owned()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The release whose standards count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Those of this release.
    Latest,
    /// Those of v1.N.
    Minor(u32),
}

impl Version {
    /// The version of a text.
    ///
    /// # Errors
    /// The form that would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be \"latest\" or \"v1.x\"".to_owned();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let minor = text.strip_prefix("v1.").ok_or_else(wrong)?;
        let plain = minor.bytes().all(|byte| byte.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
        let number = minor.parse().ok().filter(|_| plain);
        number.map(Self::Minor).ok_or_else(wrong)
    }

    /// The minor version whose checks are done.
    pub(crate) fn minor(self) -> u32 {
        match self {
            Self::Latest => CURRENT_MINOR,
            Self::Minor(minor) => minor.min(CURRENT_MINOR),
        }
    }
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standard {
    pub(crate) level: Level,
    pub(crate) version: Version,
}

impl Standard {
    /// Nothing is refused.
    pub(crate) const PRIVILEGED: Self = Self { level: Level::Privileged, version: Version::Latest };

    fn equivalent(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.word();
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What is refused, what is noted in the audit log and what is warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) enforce: Standard,
    pub(crate) audit: Standard,
    pub(crate) warn: Standard,
}

impl Policy {
    /// Nothing is refused, noted or warned of.
    pub(crate) const PRIVILEGED: Self =
        Self { enforce: Standard::PRIVILEGED, audit: Standard::PRIVILEGED, warn: Standard::PRIVILEGED };

    /// The policy of a namespace with these labels, and what is wrong with them.
    /// A level that cannot be read is the strictest when enforced, and none otherwise.
    pub(crate) fn of(labels: &Map, defaults: &Self) -> (Self, Vec<FieldError>) {
        let mut policy = *defaults;
        let mut errors = Vec::new();
        let mut read = |mode: &str, standard: &mut Standard, fallback: Level| {
            let given = |key: &str| labels.get(key).and_then(apimachinery::Value::as_str);
            let mut wrong = |key: &str, text: &str, why: String| {
                errors.push(FieldError::invalid(Path::new("metadata.labels").key(key), text, why));
            };
            let (key, version_key) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
            let level = given(&key).map(|text| (text, Level::parse(text)));
            let level_is_good = matches!(level, Some((_, Ok(_))));
            if let Some((text, parsed)) = level {
                standard.level = parsed.unwrap_or_else(|why| {
                    wrong(&key, text, why);
                    fallback
                });
            }
            if let Some(text) = given(&version_key) {
                standard.version = Version::parse(text).unwrap_or_else(|why| {
                    wrong(&version_key, text, why);
                    Version::Latest
                });
            }
            (level_is_good, given(&key).is_some(), given(&version_key).is_some())
        };
        let (enforced, ..) = read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut policy.audit, Level::Privileged);
        let (_, warn_level, warn_version) = read("warn", &mut policy.warn, Level::Privileged);
        // Who enforces more than is warned of by default wants to be warned too.
        if !warn_level && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warn_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether nothing would ever be said.
    pub(crate) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }

    /// Whether two policies come to the same.
    pub(crate) fn equivalent(&self, other: &Self) -> bool {
        self.enforce.equivalent(other.enforce) && self.audit.equivalent(other.audit) && self.warn.equivalent(other.warn)
    }

    /// The modes that labels set to more than nothing: `enforce=baseline:latest, warn=…`.
    pub(crate) fn labelled(&self, labels: &Map) -> String {
        let set = |mode: &str| ["", "-version"].iter().any(|end| labels.contains_key(&format!("{PREFIX}{mode}{end}")));
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let told = modes.iter().filter(|(mode, standard)| standard.level != Level::Privileged && set(mode));
        told.map(|(mode, standard)| format!("{mode}={standard}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn check(labels: &apimachinery::Value, expected: [&str; 3], wrong: &[&str]) {
        let (policy, errors) = Policy::of(labels.as_map().unwrap(), &Policy::PRIVILEGED);
        let seen = [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string());
        assert_eq!(seen, expected);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), wrong);
    }

    #[test]
    fn labels_make_a_policy() {
        let none = "privileged:latest";
        check(&value!({}), [none, none, none], &[]);
        // What is enforced is warned of as well.
        check(
            &value!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"}),
            ["baseline:v1.30", none, "baseline:v1.30"],
            &[],
        );
        check(
            &value!({
                "pod-security.kubernetes.io/enforce": "baseline",
                "pod-security.kubernetes.io/warn": "privileged",
                "pod-security.kubernetes.io/audit": "restricted",
                "pod-security.kubernetes.io/audit-version": "latest",
            }),
            ["baseline:latest", "restricted:latest", none],
            &[],
        );
    }

    #[test]
    fn what_cannot_be_read_is_strict_when_enforced_and_nothing_otherwise() {
        let none = "privileged:latest";
        check(
            &value!({"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn": "x",
                "pod-security.kubernetes.io/audit-version": "v1.05"}),
            ["restricted:latest", none, none],
            &[
                r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#,
                r#"metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "v1.05": must be "latest" or "v1.x""#,
                r#"metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "x": must be one of privileged, baseline, restricted"#,
            ],
        );
    }
}
