//! PEM armour: reading tolerant of surrounding text, writing with 64 columns.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::PkiError;

/// One block of a PEM text.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

/// All blocks of a text, in order.
pub(crate) fn parse(text: &str) -> Result<Vec<Block>, PkiError> {
    const MALFORMED: PkiError = PkiError::Malformed { what: "PEM" };
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let mut body = String::new();
        loop {
            let line = lines.next().ok_or(MALFORMED)?;
            if line == end {
                break;
            }
            body.push_str(line);
        }
        let der = STANDARD.decode(body).map_err(|_| MALFORMED)?;
        blocks.push(Block { label: label.to_owned(), der });
    }
    Ok(blocks)
}

/// The first block with the label.
pub(crate) fn first(text: &str, label: &'static str) -> Result<Vec<u8>, PkiError> {
    parse(text)?
        .into_iter()
        .find(|block| block.label == label)
        .map(|block| block.der)
        .ok_or(PkiError::MissingPem { wanted: label })
}

/// Wraps DER bytes.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
