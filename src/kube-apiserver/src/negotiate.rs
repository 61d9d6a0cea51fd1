//! Which form an answer takes: the `Accept` header with its q-values, and which form a body has.

use apimachinery::{Status, protobuf};
use http::{HeaderMap, header};

/// The media types bodies may have.
pub const BODY_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protobuf in the envelope of Kubernetes.
    Protobuf,
}

impl Encoding {
    /// The media type of a whole answer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => protobuf::CONTENT_TYPE,
        }
    }
}

/// What is said of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
    /// A row of a table.
    Table,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it looks like.
    pub encoding: Encoding,
    /// What it says.
    pub projection: Projection,
}

impl Form {
    /// All of an object as JSON.
    pub const JSON: Self = Self { encoding: Encoding::Json, projection: Projection::Whole };
    /// All of an object as protobuf.
    pub const PROTOBUF: Self = Self { encoding: Encoding::Protobuf, projection: Projection::Whole };
}

/// One entry of an `Accept` header.
struct Entry<'a> {
    media: &'a str,
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    quality: u16,
}

/// The form of a single object or list.
///
/// # Errors
/// 406 if the client accepts nothing this server has.
pub fn accept(headers: &HeaderMap) -> Result<Form, Status> {
    choose(headers, offer)
}

/// The form of a watch: no YAML.
///
/// # Errors
/// 406 if the client accepts nothing this server has.
pub fn accept_stream(headers: &HeaderMap) -> Result<Form, Status> {
    choose(headers, |entry| offer(entry).filter(|form| form.encoding != Encoding::Yaml))
}

/// The encoding failures are told in; clients that accept nothing we have get JSON.
pub fn accept_failure(headers: &HeaderMap) -> Encoding {
    accept(headers).map_or(Encoding::Json, |form| form.encoding)
}

fn choose(headers: &HeaderMap, offer: impl Fn(&Entry<'_>) -> Option<Form>) -> Result<Form, Status> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Ok(Form::JSON);
    }
    let mut best: Option<(u16, Form)> = None;
    let mut asked = false;
    for value in values.filter_map(|value| value.to_str().ok()) {
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            asked = true;
            let entry = parse(entry);
            if let Some(form) = offer(&entry).filter(|_| entry.quality > 0)
                && best.is_none_or(|(quality, _)| entry.quality > quality)
            {
                best = Some((entry.quality, form));
            }
        }
    }
    match best {
        Some((_, form)) => Ok(form),
        None if !asked => Ok(Form::JSON),
        None => Err(Status::not_acceptable(BODY_TYPES)),
    }
}

fn parse(entry: &str) -> Entry<'_> {
    let mut parts = entry.split(';').map(str::trim);
    let mut parsed = Entry { media: parts.next().unwrap_or_default(), kind: "", group: "", version: "", quality: 1000 };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim() {
            "as" => parsed.kind = value.trim(),
            "g" => parsed.group = value.trim(),
            "v" => parsed.version = value.trim(),
            "q" => parsed.quality = thousandths(value.trim()),
            _ => {}
        }
    }
    parsed
}

/// `0.75` as 750; what is no q-value counts as 1, as Go's parser does.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = || fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    match whole {
        "0" if fraction.len() <= 3 && fraction.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        _ => 1000,
    }
}

fn offer(entry: &Entry<'_>) -> Option<Form> {
    let encoding = match entry.media {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        protobuf::CONTENT_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let projection = match (entry.kind, entry.group, entry.version) {
        ("", "", "") => Projection::Whole,
        ("Table", "meta.k8s.io", "v1") => Projection::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Projection::Metadata,
        _ => return None,
    };
    // The cells of a table may be anything, so tables have no protobuf form.
    let possible = encoding != Encoding::Protobuf || projection != Projection::Table;
    possible.then_some(Form { encoding, projection })
}

/// True for the body of a server-side apply.
pub fn is_apply(headers: &HeaderMap) -> bool {
    body_type(headers).starts_with("application/apply-patch+")
}

/// The media type of a request body without its parameters; JSON if none is named.
pub fn body_type(headers: &HeaderMap) -> &str {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = named.split(';').next().unwrap_or_default().trim();
    if media.is_empty() { "application/json" } else { media }
}

#[cfg(test)]
mod tests;
