//! From where and how much a list reads: limit, continue, resourceVersion and resourceVersionMatch.

use apimachinery::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::query::Query;

/// Which state a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The newest.
    Newest,
    /// Whatever the cache has.
    Any,
    /// One at least this new.
    NotOlderThan(i64),
    /// Exactly this one.
    Exactly(i64),
    /// The state of an earlier page, after this key (relative to the kind's folder).
    Continued {
        /// The revision of the first page; 0 goes on in the newest state.
        revision: i64,
        /// The last key that was given.
        after: String,
    },
}

/// The part of a collection a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Which state.
    pub(super) from: From,
    /// At most this many objects; 0 is all.
    pub(super) limit: usize,
}

/// The revision of a token that goes on in the newest state.
pub(super) const INCONSISTENT: i64 = -1;

/// What a continue token holds, as upstream.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// A resourceVersion as a revision.
///
/// # Errors
/// 400 if it is no number.
pub(super) fn revision(text: &str) -> Result<i64, Status> {
    text.parse()
        .ok()
        .filter(|revision| *revision >= 0)
        .ok_or_else(|| Status::bad_request(format!("invalid resource version {text:?}: must be an unsigned integer")))
}

impl Page {
    /// Reads the query of a list.
    ///
    /// # Errors
    /// 400 for values and combinations that mean nothing.
    pub(super) fn parse(query: &Query) -> Result<Self, Status> {
        let limit = match query.get("limit") {
            None | Some("") => 0,
            Some(text) => {
                let limit: i64 =
                    text.parse().map_err(|_| Status::bad_request(format!("limit: invalid value {text:?}")))?;
                usize::try_from(limit).unwrap_or(0)
            }
        };
        let version = query.get("resourceVersion").unwrap_or_default();
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        if let Some(token) = query.get("continue").filter(|token| !token.is_empty()) {
            if !matches!(version, "" | "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            if !matching.is_empty() {
                return Err(Status::bad_request("resourceVersionMatch is forbidden when continue is provided"));
            }
            let (revision, after) = decode(token)?;
            return Ok(Self { from: From::Continued { revision, after }, limit });
        }
        let from = match (version, matching) {
            ("", "") => From::Newest,
            ("", _) => {
                return Err(Status::bad_request(
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            ("0", "Exact") => {
                return Err(Status::bad_request(
                    "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
            ("0", "" | "NotOlderThan") => From::Any,
            (version, "") if limit > 0 => From::Exactly(revision(version)?),
            (version, "" | "NotOlderThan") => From::NotOlderThan(revision(version)?),
            (version, "Exact") => From::Exactly(revision(version)?),
            (_, other) => {
                return Err(Status::bad_request(format!(
                    "resourceVersionMatch: Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\""
                )));
            }
        };
        Ok(Self { from, limit })
    }
}

/// The token that goes on after a key.
pub(super) fn encode(revision: i64, after: &str) -> String {
    // The trailing zero is upstream's: the next key in order.
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv: revision, start: format!("{after}\0") };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token can always be written"))
}

fn decode(token: &str) -> Result<(i64, String), Status> {
    let wrong = || Status::bad_request("continue key is not valid: encoded continue token is malformed");
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| wrong())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let after = token.start.strip_suffix('\0').unwrap_or(&token.start);
    let safe = !after.is_empty() && !after.split('/').any(|part| matches!(part, "" | "." | ".."));
    if token.v != "meta.k8s.io/v1" || token.rv < INCONSISTENT || !safe {
        return Err(wrong());
    }
    Ok((token.rv.max(0), after.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(query: &str) -> Result<From, u16> {
        Page::parse(&Query::parse(query)).map(|page| page.from).map_err(|status| status.code())
    }

    #[test]
    fn the_combinations_mean_what_upstream_documents() {
        assert_eq!(from(""), Ok(From::Newest));
        assert_eq!(from("resourceVersion=0"), Ok(From::Any));
        assert_eq!(from("resourceVersion=5"), Ok(From::NotOlderThan(5)));
        assert_eq!(from("resourceVersion=5&limit=1"), Ok(From::Exactly(5)));
        assert_eq!(from("resourceVersion=5&resourceVersionMatch=Exact"), Ok(From::Exactly(5)));
        for query in [
            "resourceVersionMatch=Exact",
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersion=5&resourceVersionMatch=Sometimes",
            "resourceVersion=x",
            "resourceVersion=-1",
            "limit=x",
            "continue=!!",
            "continue=e30",
        ] {
            assert_eq!(from(query), Err(400), "{query}");
        }
    }

    #[test]
    fn a_token_leads_back_to_its_place() {
        let token = encode(42, "default/web");
        let expected = From::Continued { revision: 42, after: "default/web".to_owned() };
        assert_eq!(from(&format!("limit=1&continue={token}")), Ok(expected));
        assert_eq!(from(&format!("continue={token}&resourceVersion=7")), Err(400));
    }

    #[test]
    fn a_token_cannot_leave_its_folder() {
        for start in ["../secrets/x\0", "a/../b\0", "/a\0", ""] {
            let token = Token { v: "meta.k8s.io/v1".to_owned(), rv: 1, start: start.to_owned() };
            let token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap());
            assert_eq!(from(&format!("continue={token}")), Err(400), "{start:?}");
        }
    }
}
