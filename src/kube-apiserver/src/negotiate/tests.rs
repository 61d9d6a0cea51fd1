use http::HeaderValue;

use super::*;

/// Checks the form chosen for an `Accept` header, `-` being a refusal.
fn check(header: &str, expected: &str) {
    let mut headers = HeaderMap::new();
    if !header.is_empty() {
        headers.insert(header::ACCEPT, HeaderValue::from_str(header).unwrap());
    }
    let seen = match accept(&headers) {
        Ok(form) => format!("{:?} {:?}", form.encoding, form.projection),
        Err(status) => format!("- {}", status.code()),
    };
    assert_eq!(seen, expected, "{header}");
}

#[test]
fn the_first_acceptable_form_wins() {
    check("", "Json Whole");
    check("*/*", "Json Whole");
    check("application/json", "Json Whole");
    check("application/vnd.kubernetes.protobuf,application/json", "Protobuf Whole");
    check(
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        "Json Table",
    );
    check("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "Json Metadata");
    check("application/yaml", "Yaml Whole");
}

#[test]
fn tables_have_no_protobuf_form() {
    check(
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
        "Json Table",
    );
}

#[test]
fn q_values_decide() {
    check("application/json;q=0.5,application/yaml", "Yaml Whole");
    check("application/json;q=0.5,application/yaml;q=0.501", "Yaml Whole");
    check("application/yaml;q=0,*/*;q=0.1", "Json Whole");
}

#[test]
fn what_cannot_be_given_is_refused() {
    check("text/html", "- 406");
    check("application/json;as=Table;v=v9;g=meta.k8s.io", "- 406");
    check("application/json;q=0", "- 406");
}
