//! Several certificates at one port, chosen by the name a client asks for.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::TlsError;
use super::reload::CertificateResolver;
use super::settings::NamedFiles;

/// A certificate for some names, and one for all others.
#[derive(Debug)]
pub(super) struct ByName {
    named: Vec<Named>,
    others: CertificateResolver,
}

#[derive(Debug)]
struct Named {
    certificate: CertificateResolver,
    names: Vec<String>,
}

/// How well a certificate fits a name; the order is the one upstream chooses in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// By a `*` of the certificate itself.
    OwnPattern,
    /// By a `*` it was given for.
    Pattern,
    /// By a name of the certificate itself.
    Own,
    /// By a name it was given for.
    Exact,
}

impl ByName {
    pub(super) fn new(files: &[NamedFiles], others: CertificateResolver) -> Result<Self, TlsError> {
        let load = |files: &NamedFiles| {
            let certificate = CertificateResolver::new(files.cert.clone(), files.key.clone())?;
            Ok(Named { certificate, names: files.names.clone() })
        };
        Ok(Self { named: files.iter().map(load).collect::<Result<_, TlsError>>()?, others })
    }

    fn choose(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut best: Option<(Fit, Arc<CertifiedKey>)> = None;
        for named in &self.named {
            let (key, own) = (named.certificate.current(), named.names.is_empty());
            let fit = if own { fit(&own_names(&key.cert), name, own) } else { fit(&named.names, name, own) };
            // Of two that fit alike the first one counts.
            if let Some(fit) = fit.filter(|fit| best.as_ref().is_none_or(|(other, _)| fit > other)) {
                best = Some((fit, key));
            }
        }
        best.map(|(_, key)| key)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        name.and_then(|name| self.choose(&name)).or_else(|| Some(self.others.current()))
    }
}

fn fit(patterns: &[String], name: &str, own: bool) -> Option<Fit> {
    let exact = if own { Fit::Own } else { Fit::Exact };
    let pattern = if own { Fit::OwnPattern } else { Fit::Pattern };
    let fits = patterns.iter().filter(|pattern| matches(pattern, name));
    fits.map(|found| if found.contains('*') { pattern } else { exact }).max()
}

/// Whether a name is meant, where a first label `*` stands for any one.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(rest) => name.split_once('.').is_some_and(|(_, parent)| matches(rest, parent)),
    }
}

/// The names a certificate has itself.
fn own_names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let Some((_, leaf)) = chain.first().and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok()) else {
        return Vec::new();
    };
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_before_patterns_and_given_ones_before_those_of_the_certificate() {
        let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (patterns, own, name, expected) in [
            (&["a.example"][..], false, "a.example", Some(Fit::Exact)),
            (&["a.example"], true, "a.example", Some(Fit::Own)),
            (&["*.example", "a.example"], false, "a.example", Some(Fit::Exact)),
            (&["*.example"], false, "a.example", Some(Fit::Pattern)),
            (&["*.example"], true, "a.example", Some(Fit::OwnPattern)),
            (&["*.example"], false, "a.b.example", None),
            (&["*.*.example"], false, "a.b.example", Some(Fit::Pattern)),
            (&["*.example"], false, "example", None),
            (&["b.example"], false, "a.example", None),
        ] {
            assert_eq!(fit(&names(patterns), name, own), expected, "{patterns:?} {name}");
        }
        assert!(Fit::Exact > Fit::Own && Fit::Own > Fit::Pattern && Fit::Pattern > Fit::OwnPattern);
    }
}
