//! The rules for names. Each check returns what is wrong in upstream's words; nothing returned means all is well.

/// The longest DNS label.
pub const DNS_LABEL_MAX: usize = 63;
/// The longest DNS subdomain.
pub const DNS_SUBDOMAIN_MAX: usize = 253;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// "must be no more than N bytes".
pub fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Starts and ends with `edge`, and has only `edge` or the bytes of `inner` within.
fn shaped(text: &str, edge: fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    edge(*first) && edge(*last) && bytes.iter().all(|byte| edge(*byte) || inner.contains(byte))
}

fn is_label(text: &str) -> bool {
    shaped(text, is_lower, b"-")
}

fn is_qualified_part(text: &str) -> bool {
    shaped(text, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

fn check(text: &str, limit: usize, good: bool, rule: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > limit {
        wrong.push(max_length(limit));
    }
    if !good {
        wrong.push(rule.to_owned());
    }
    wrong
}

/// The name of most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    check(text, DNS_SUBDOMAIN_MAX, text.split('.').all(is_label), SUBDOMAIN)
}

/// The name of a namespace, container or volume.
pub fn dns1123_label(text: &str) -> Vec<String> {
    check(text, DNS_LABEL_MAX, is_label(text), LABEL)
}

/// The name of a service.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let good = is_label(text) && text.as_bytes()[0].is_ascii_lowercase();
    check(text, DNS_LABEL_MAX, good, LABEL_1035)
}

/// The host of an ingress rule with a wildcard.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let good = text.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label));
    check(text, DNS_SUBDOMAIN_MAX, good, WILDCARD)
}

/// A name that may have a domain before it: `example.com/name`, as the keys of labels and annotations.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns1123_subdomain(prefix).into_iter().map(|rule| format!("prefix part {rule}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", max_length(63)));
    }
    if !is_qualified_part(name) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    check(text, 63, text.is_empty() || is_qualified_part(text), LABEL_VALUE)
}

/// A key in the data of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let mut wrong = check(text, DNS_SUBDOMAIN_MAX, good, CONFIG_KEY);
    if text == "." {
        wrong.push("must not be '.'".to_owned());
    } else if text == ".." {
        wrong.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        wrong.push("must not start with '..'".to_owned());
    }
    wrong
}

/// The name of an environment variable.
pub fn env_var_name(text: &str) -> Vec<String> {
    let good = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    check(text, usize::MAX, good, ENV_NAME)
}

/// A name as in the C language.
pub fn c_identifier(text: &str) -> Vec<String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = text.bytes().all(word) && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    check(text, usize::MAX, good, C_IDENTIFIER)
}

/// `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let good = text
        .strip_suffix('%')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    check(text, usize::MAX, good, PERCENT)
}

/// The name of a port of a pod or service.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 15 {
        wrong.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|byte| is_lower(byte) || byte == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// The number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

/// One step of a path in the API's URLs, for kinds whose names follow no other rule.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ['/', '%'].iter().filter(|bad| text.contains(**bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(check: fn(&str) -> Vec<String>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Vec::<String>::new(), "{text}");
        }
        for text in bad {
            assert!(!check(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn names_are_judged_as_upstream_does() {
        let long = "a".repeat(64);
        agree(dns1123_subdomain, &["a", "a.b-c.1", "0"], &["", ".", "a.", "A", "a_b", "-a", "a..b", &"a.".repeat(130)]);
        agree(dns1123_label, &["a", "1-a"], &["", "a.b", "-", &long]);
        agree(dns1035_label, &["a", "a-1"], &["", "1a", "a-"]);
        agree(qualified_name, &["a", "A_b.c", "example.com/Name"], &["", "/a", "a/", "a/b/c", "A.com/x", "-a", &long]);
        agree(label_value, &["", "a", "A_1.b"], &["-", "a b", &long]);
        agree(config_map_key, &["a.b", "_", "K-1"], &["", ".", "..", "..a", "a/b"]);
        agree(port_name, &["http", "a-1"], &["", "1", "a--b", "-a", "averyveryverylong", "A"]);
        agree(wildcard_subdomain, &["*.a.b"], &["a.b", "*.", "*a"]);
        agree(percent, &["5%"], &["5", "%", "a%"]);
        agree(env_var_name, &["A", "a.b", "a b"], &["", "a=b", "ä"]);
        agree(path_segment, &["system:node"], &[".", "..", "a/b", "a%"]);
    }
}
