//! The flags of authentication, authorization and admission.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use component_base::flags::{boolean, duration};

use super::OidcArgs;

/// Who may come in and what they may do.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct AccessArgs {
    /// Requests without credentials are let through as system:anonymous.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Issuers and conditions of anonymous access, in a file instead of flags.
    #[arg(long, conflicts_with_all = ["oidc_issuer_url", "oidc_client_id"])]
    pub authentication_config: Option<PathBuf>,
    /// An `OpenID` Connect issuer.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// The CA of client certificates.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// A CSV file of static bearer tokens.
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// Bootstrap token Secrets are accepted as bearer tokens.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    /// The ordered list of authorizers.
    #[arg(long, value_delimiter = ',', default_value = "AlwaysAllow")]
    pub authorization_mode: Vec<String>,
    /// Admission plugins beside the default ones.
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins to leave out.
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// A file with the settings of admission plugins.
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    /// Containers may be privileged.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub allow_privileged: bool,
    /// Names a proxy's client certificate may carry.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// The CA of proxies' client certificates.
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Prefixes of headers with extra facts about the user.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's name.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// The certificate this server shows to API servers behind it.
    #[arg(long)]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Issuers of accepted service account tokens; the first one is put into new tokens.
    #[arg(long, required = true)]
    pub service_account_issuer: Vec<String>,
    /// Public (or private) keys of accepted service account tokens.
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// The private key of new service account tokens.
    #[arg(long)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Where the public keys can be fetched, if not at this server.
    #[arg(long)]
    pub service_account_jwks_uri: Option<String>,
    /// Audiences of accepted tokens; the issuer if none is given.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// The longest life of a requested token.
    #[arg(long, value_parser = duration)]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Long-lived tokens for pods that were made for an hour.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
}
