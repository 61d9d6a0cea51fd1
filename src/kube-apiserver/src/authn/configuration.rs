//! Issuers and anonymous access, as the `--oidc-*` flags or a file (`AuthenticationConfiguration`) name them.

use std::path::Path;

use serde::Deserialize;

use crate::config::{AccessArgs, OidcArgs};
use crate::settings_file::{self, SettingsFileError};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file cannot be read or understood.
    #[error(transparent)]
    File(#[from] SettingsFileError),
    /// Something cannot be.
    #[error("{field}: {why}")]
    Invalid {
        /// The flag or field.
        field: String,
        /// What is wrong.
        why: String,
    },
}

/// Who comes in beside those with certificates and tokens of the cluster itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// The issuers.
    #[serde(default)]
    pub jwt: Vec<JwtConfig>,
    /// Requests without credentials.
    #[serde(default)]
    pub anonymous: Option<Anonymous>,
}

/// Whether and where requests without credentials are let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anonymous {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    path: String,
}

/// One issuer and how its claims are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtConfig {
    /// The issuer.
    pub issuer: IssuerConfig,
    /// What tokens must say besides.
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    /// Which claims make a user.
    pub claim_mappings: Mappings,
}

/// Where an issuer is and for whom its tokens are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerConfig {
    /// Its name, an https URL.
    pub url: String,
    /// Where its discovery document is, if not below its name.
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// The authority of its certificate (PEM).
    #[serde(default)]
    pub certificate_authority: Option<String>,
    /// The audiences that are this cluster.
    pub audiences: Vec<String>,
    #[serde(default)]
    pub(super) audience_match_policy: Option<String>,
    /// Accepted algorithms; all that are known if there is none.
    #[serde(skip)]
    pub algorithms: Vec<String>,
}

/// A claim with the value it must have.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRule {
    /// The claim.
    pub claim: String,
    /// Its value.
    #[serde(default)]
    pub required_value: String,
}

/// Which claims make a user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mappings {
    /// The name.
    pub username: Mapping,
    /// The groups.
    #[serde(default)]
    pub groups: Option<Mapping>,
    /// The uid.
    #[serde(default)]
    pub uid: Option<Mapping>,
}

/// A claim, and what is put before its value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The claim.
    pub claim: String,
    /// What keeps users of this issuer apart from others.
    #[serde(default)]
    pub prefix: String,
}

impl Configuration {
    /// What the flags say.
    ///
    /// # Errors
    /// If a file cannot be read or something makes no sense.
    pub fn load(args: &AccessArgs) -> Result<Self, ConfigurationError> {
        let configuration = match &args.authentication_config {
            Some(path) => Self::read(path)?,
            None => Self { jwt: JwtConfig::from_flags(&args.oidc)?.into_iter().collect(), ..Self::default() },
        };
        for (index, jwt) in configuration.jwt.iter().enumerate() {
            jwt.check()
                .map_err(|(field, why)| ConfigurationError::Invalid { field: format!("jwt[{index}].{field}"), why })?;
        }
        Ok(configuration)
    }

    fn read(path: &Path) -> Result<Self, ConfigurationError> {
        let read: Self = settings_file::read(path)?;
        let known = ["v1", "v1beta1"].map(|version| format!("apiserver.config.k8s.io/{version}"));
        if !known.contains(&read.api_version) || read.kind != "AuthenticationConfiguration" {
            let why = format!("{} {} is not known here", read.api_version, read.kind);
            return Err(ConfigurationError::Invalid { field: "kind".to_owned(), why });
        }
        Ok(read)
    }
}

fn read(path: &Path) -> Result<String, SettingsFileError> {
    std::fs::read_to_string(path).map_err(|source| SettingsFileError::Read { path: path.to_owned(), source })
}

impl Anonymous {
    /// Everywhere or nowhere.
    pub fn always(enabled: bool) -> Self {
        Self { enabled, conditions: Vec::new() }
    }

    /// Whether a request for this path needs no credentials.
    pub fn allows(&self, path: &str) -> bool {
        self.enabled && (self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.path == path))
    }
}

impl JwtConfig {
    fn from_flags(args: &OidcArgs) -> Result<Option<Self>, ConfigurationError> {
        let (Some(url), Some(client)) = (&args.oidc_issuer_url, &args.oidc_client_id) else {
            if args.oidc_issuer_url.is_none() && args.oidc_client_id.is_none() {
                return Ok(None);
            }
            let why = "both are needed".to_owned();
            return Err(ConfigurationError::Invalid {
                field: "--oidc-issuer-url and --oidc-client-id".to_owned(),
                why,
            });
        };
        let claim = args.oidc_username_claim.clone();
        let prefix = match args.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if claim == "email" => String::new(),
            None => format!("{url}#"),
        };
        let required = args
            .oidc_required_claim
            .iter()
            .map(|(claim, value)| ClaimRule { claim: claim.clone(), required_value: value.clone() });
        let groups = args.oidc_groups_claim.clone();
        Ok(Some(Self {
            issuer: IssuerConfig {
                url: url.clone(),
                discovery_url: None,
                certificate_authority: args.oidc_ca_file.as_deref().map(read).transpose()?,
                audiences: vec![client.clone()],
                audience_match_policy: None,
                algorithms: args.oidc_signing_algs.clone(),
            },
            claim_validation_rules: required.collect(),
            claim_mappings: Mappings {
                username: Mapping { claim, prefix },
                groups: groups.map(|claim| Mapping { claim, prefix: args.oidc_groups_prefix.clone() }),
                uid: None,
            },
        }))
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let issuer = &self.issuer;
        for (field, url) in [("issuer.url", Some(&issuer.url)), ("issuer.discoveryURL", issuer.discovery_url.as_ref())]
        {
            if url.is_some_and(|url| !url.starts_with("https://")) {
                return Err((field, "must be an https URL".to_owned()));
            }
        }
        if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
            return Err(("issuer.audiences", "must name at least one audience".to_owned()));
        }
        if issuer.audience_match_policy.as_deref().is_some_and(|policy| policy != "MatchAny") {
            return Err(("issuer.audienceMatchPolicy", "must be MatchAny".to_owned()));
        }
        if self.claim_mappings.username.claim.is_empty() {
            return Err(("claimMappings.username.claim", "must be set; expressions are not supported".to_owned()));
        }
        Ok(())
    }
}
