//! Certificate signing requests: what is asked never changes, only what becomes of it.

use crate::check::{self, Errors};
use crate::print::{self, AGE, NAME};
use crate::resource::{Action, Column, NOOP, NameRule, Strategy};
use crate::status;
use apimachinery::field::{FieldError, Path};
use apimachinery::names;
use apimachinery::object::Object;
use apimachinery::value::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(super) const STRATEGY: Strategy = Strategy {
    prepare_create: status::drop_status,
    prepare_update: |new, old| {
        status::keep(new, old, "spec");
        status::keep_status(new, old);
    },
    prepare_status: status::only_status,
    validate,
    validate_part,
    name: NameRule::PathSegment,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    Column::new("SignerName", |request, _| print::text_or_none(request, &["spec", "signerName"])),
    Column::new("Requestor", |request, _| Value::from(request.str_at(&["spec", "username"]))),
    Column::new("RequestedDuration", |request, _| {
        let seconds = request.i64_at(&["spec", "expirationSeconds"]);
        Value::from(seconds.map_or(print::NONE.to_owned(), print::duration))
    }),
    Column::new("Condition", |request, _| Value::from(condition(request))),
];

fn condition(request: &Object) -> String {
    let conditions = request.list_at(&["status", "conditions"]);
    let mut words = Vec::new();
    for (kind, word) in [("Approved", "Approved"), ("Denied", "Denied")] {
        if conditions.iter().any(|one| one.str("type") == kind) {
            words.push(word);
        }
    }
    if words.is_empty() {
        words.push("Pending");
    }
    if conditions.iter().any(|one| one.str("type") == "Failed") {
        words.push("Failed");
    }
    if !request.str_at(&["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

/// What a certificate may be asked to be good for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn validate(request: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = request.map_at(&["spec"]);
    if let Err(wrong) = check_pem(spec.str("request"), "CERTIFICATE REQUEST") {
        errors.push(FieldError::invalid(path.child("request"), spec.str("request"), wrong));
    }
    let usages = check::list(spec, "usages");
    if usages.is_empty() {
        errors.push(FieldError::required(path.child("usages"), ""));
    }
    for (index, usage) in usages.iter().enumerate() {
        let path = path.child("usages").index(index);
        let text = usage.as_str().unwrap_or_default();
        if !USAGES.contains(&text) {
            errors.push(FieldError::not_supported(&path, text, &USAGES));
        }
        if usages[..index].contains(usage) {
            errors.push(FieldError::duplicate(&path, text));
        }
    }
    check_signer(&mut errors, &path.child("signerName"), spec.str("signerName"));
    if let Some(seconds) = check::number(spec, "expirationSeconds").filter(|seconds| *seconds < 600) {
        let wrong = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, wrong));
    }
    errors
}

/// `domain/path`: a domain of at least two labels, and a path of labels of its own.
fn check_signer(errors: &mut Errors, path: &Path, signer: &str) {
    if signer.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let wrong = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid(path, signer, wrong));
        return;
    };
    check::named(errors, path, domain, names::dns1123_subdomain);
    if !domain.contains('.') {
        errors.push(FieldError::invalid(
            path,
            signer,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    for part in rest.split('.') {
        check::named(errors, path, part, names::dns1123_subdomain);
    }
}

/// Bytes in base64 must be PEM whose blocks all have a label; nothing is wrong with none where none are needed.
fn check_pem(text: &str, label: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(text).map_err(|_| "must be base64".to_owned())?;
    let pem = String::from_utf8_lossy(&bytes);
    let labels: Vec<&str> =
        pem.lines().filter_map(|line| line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")).collect();
    match labels.as_slice() {
        labels if !labels.is_empty() && labels.iter().all(|found| *found == label) => Ok(()),
        [] => Err(format!("PEM block type must be {label}")),
        _ => Err(format!("only {label} PEM blocks are allowed, found \"{}\"", labels.join("\", \""))),
    }
}

/// Conditions that are only ever true.
const ONLY_TRUE: [&str; 3] = ["Approved", "Denied", "Failed"];

fn conditions<'a>(request: &'a Object, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    request.list_at(&["status", "conditions"]).iter().filter(move |one| one.str("type") == kind)
}

fn validate_part(action: Action, new: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status.conditions");
    for (index, condition) in new.list_at(&["status", "conditions"]).iter().enumerate() {
        let at = path.index(index);
        let (kind, status) = (condition.str("type"), condition.str("status"));
        check::required(&mut errors, &at.child("type"), kind);
        let known: &[&str] = if ONLY_TRUE.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        check::one_of(&mut errors, &at.child("status"), status, known);
        let first = new.list_at(&["status", "conditions"])[..index].iter().any(|one| one.str("type") == kind);
        if first {
            errors.push(FieldError::duplicate(at.child("type"), kind));
        }
    }
    if conditions(new, "Approved").next().is_some() && conditions(new, "Denied").next().is_some() {
        let wrong = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid(&path, "Denied", wrong));
    }
    for kind in ONLY_TRUE {
        let (now, before) = (conditions(new, kind).count(), conditions(old, kind).count());
        if now < before {
            errors.push(FieldError::forbidden(&path, format!("updates may not remove a condition of type {kind:?}")));
        }
        if now > before && action == Action::Status && kind != "Failed" {
            errors.push(FieldError::forbidden(&path, format!("updates may not add a condition of type {kind:?}")));
        }
    }
    check_certificate(&mut errors, new.str_at(&["status", "certificate"]), old.str_at(&["status", "certificate"]));
    errors
}

/// A certificate is issued once.
fn check_certificate(errors: &mut Errors, new: &str, old: &str) {
    let path = Path::new("status.certificate");
    if new == old {
        return;
    }
    if !old.is_empty() {
        errors.push(FieldError::forbidden(&path, "updates may not modify existing certificate content"));
    }
    if let Err(wrong) = check_pem(new, "CERTIFICATE") {
        errors.push(FieldError::invalid(&path, "<certificate data>", wrong));
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;
    use crate::groups::tests::{errors, object};

    fn pem(label: &str) -> String {
        STANDARD.encode(format!("-----BEGIN {label}-----\nAA==\n-----END {label}-----\n"))
    }

    #[test]
    fn requests_are_checked_in_upstreams_words() {
        let check = |change: (&str, Value), expected: &[&str]| {
            let mut request = value!({"spec": {"request": (pem("CERTIFICATE REQUEST")), "signerName": "a.b/c",
                "usages": ["client auth"]}});
            request.set_at(&["spec", change.0], change.1);
            assert_eq!(errors("certificatesigningrequests", request), expected);
        };
        check(("expirationSeconds", 600.into()), &[]);
        check(("usages", value!([])), &["spec.usages: Required value"]);
        check(
            ("usages", value!(["client auth", "client auth"])),
            &[r#"spec.usages[1]: Duplicate value: "client auth""#],
        );
        check(
            ("signerName", "nonsense".into()),
            &[
                r#"spec.signerName: Invalid value: "nonsense": must be a fully qualified domain and path of the form 'example.com/signer-name'"#,
            ],
        );
        check(
            ("expirationSeconds", 5.into()),
            &[
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        );
        check(
            ("request", "eA==".into()),
            &[r#"spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST"#],
        );
    }

    #[test]
    fn what_became_of_a_request_is_not_taken_back() {
        let request = |conditions: Value, certificate: &str| {
            object(value!({"status": {"conditions": (conditions), "certificate": certificate}}))
        };
        let condition = |kind: &str| value!({"type": kind, "status": "True"});
        let check = |action: Action, new: &Object, old: &Object, expected: &[&str]| {
            let seen: Vec<String> = validate_part(action, new, old).iter().map(ToString::to_string).collect();
            assert_eq!(seen, expected);
        };
        let (none, approved) = (request(value!([]), ""), request(value!([(condition("Approved"))]), ""));
        check(Action::Approval, &approved, &none, &[]);
        check(
            Action::Status,
            &approved,
            &none,
            &[r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#],
        );
        check(
            Action::Approval,
            &none,
            &approved,
            &[r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#],
        );
        let both = request(value!([(condition("Approved")), (condition("Denied"))]), "");
        check(
            Action::Approval,
            &both,
            &approved,
            &[r#"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#],
        );
        let issued = request(value!([(condition("Approved"))]), &pem("CERTIFICATE"));
        check(Action::Status, &issued, &approved, &[]);
        let other = request(value!([(condition("Approved"))]), &pem("PRIVATE KEY"));
        check(
            Action::Status,
            &other,
            &issued,
            &[
                "status.certificate: Forbidden: updates may not modify existing certificate content",
                r#"status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "PRIVATE KEY""#,
            ],
        );
    }
}
