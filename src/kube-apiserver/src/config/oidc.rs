//! The flags of an `OpenID` Connect issuer.

use std::path::PathBuf;

use clap::Args;

/// Whose tokens are accepted beside those of the cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct OidcArgs {
    /// The issuer, an https URL.
    #[arg(long, requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The audience of accepted tokens.
    #[arg(long, requires = "oidc_issuer_url")]
    pub oidc_client_id: Option<String>,
    /// The claim that is the user.
    #[arg(long, default_value = "sub")]
    pub oidc_username_claim: String,
    /// What is put before users; `-` for nothing.
    #[arg(long)]
    pub oidc_username_prefix: Option<String>,
    /// The claim that is the groups.
    #[arg(long)]
    pub oidc_groups_claim: Option<String>,
    /// What is put before groups.
    #[arg(long, default_value = "")]
    pub oidc_groups_prefix: String,
    /// Claims and the values they must have.
    #[arg(long, value_parser = pair)]
    pub oidc_required_claim: Vec<(String, String)>,
    /// The authority of the issuer's certificate.
    #[arg(long)]
    pub oidc_ca_file: Option<PathBuf>,
    /// Accepted algorithms.
    #[arg(long, value_delimiter = ',', default_value = "RS256", value_parser = ["RS256", "ES256"])]
    pub oidc_signing_algs: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected claim=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
