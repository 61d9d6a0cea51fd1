//! The parameters of writes.

use apimachinery::{Object, Status, Value};

use crate::query::Query;

/// What is done about fields nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// They are dropped and the client is told.
    #[default]
    Warn,
    /// The write is refused.
    Strict,
}

/// How a write is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Everything is done but the write itself.
    pub dry_run: bool,
    /// What is done about fields nobody knows.
    pub validation: FieldValidation,
    /// Who changes fields, for managedFields.
    pub manager: String,
    /// Apply takes fields from other managers.
    pub force: bool,
}

impl WriteOptions {
    /// Reads the query of a create, update or patch.
    ///
    /// # Errors
    /// 400 for values that mean nothing.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let validation = match query.get("fieldValidation") {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                return Err(Status::bad_request(format!(
                    "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
                )));
            }
        };
        Ok(Self {
            dry_run: dry_run(query.all("dryRun"))?,
            validation,
            manager: query.get("fieldManager").unwrap_or_default().to_owned(),
            force: query.flag("force"),
        })
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    let mut dry = false;
    for value in values {
        match value {
            "" => {}
            "All" => dry = true,
            other => {
                return Err(Status::bad_request(format!(
                    "dryRun: Unsupported value: \"{other}\": supported values: \"All\""
                )));
            }
        }
    }
    Ok(dry)
}

/// What becomes of the objects owned by a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

/// How a delete is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeleteOptions {
    /// Everything is done but the delete itself.
    pub(super) dry_run: bool,
    /// How long the object may take to end.
    pub(super) grace_period_seconds: Option<i64>,
    /// Only an object with this uid is deleted.
    pub(super) uid: Option<String>,
    /// Only an object at this resourceVersion is deleted.
    pub(super) resource_version: Option<String>,
    /// What becomes of the objects it owns.
    pub(super) propagation: Option<Propagation>,
}

impl DeleteOptions {
    /// Reads the body of a delete if there is one, else its query.
    ///
    /// # Errors
    /// 400 for values that mean nothing.
    pub(super) fn parse(body: Option<&Object>, query: &Query) -> Result<Self, Status> {
        let (dry_run, grace, propagation, orphan) = match body {
            Some(body) => (
                dry_run(body.list_at(&["dryRun"]).iter().filter_map(Value::as_str))?,
                body.i64_at(&["gracePeriodSeconds"]),
                body.at(&["propagationPolicy"]).and_then(Value::as_str),
                body.at(&["orphanDependents"]).and_then(Value::as_bool),
            ),
            None => (
                dry_run(query.all("dryRun"))?,
                query.get("gracePeriodSeconds").map(grace_from_query).transpose()?,
                query.get("propagationPolicy").filter(|policy| !policy.is_empty()),
                query.get("orphanDependents").map(|orphan| orphan != "false"),
            ),
        };
        let precondition = |field| Some(body?.at(&["preconditions", field])?.as_str()?.to_owned());
        Ok(Self {
            dry_run,
            // A negative period means at once but in order; upstream treats it as one second.
            grace_period_seconds: grace.map(|seconds| if seconds < 0 { 1 } else { seconds }),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            propagation: read_propagation(propagation, orphan)?,
        })
    }
}

fn grace_from_query(text: &str) -> Result<i64, Status> {
    text.parse().map_err(|_| Status::bad_request(format!("gracePeriodSeconds: invalid value {text:?}")))
}

fn read_propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<Propagation>, Status> {
    match (policy, orphan) {
        (Some(_), Some(_)) => Err(Status::bad_request("orphanDependents and deletionPropagation cannot be both set")),
        (Some("Background"), _) | (None, Some(false)) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), _) => Ok(Some(Propagation::Foreground)),
        (Some("Orphan"), _) | (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (None, None) => Ok(None),
        (Some(other), _) => Err(Status::bad_request(format!(
            "propagationPolicy: Unsupported value: \"{other}\": supported values: \"Foreground\", \"Background\", \"Orphan\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::value;

    use super::*;

    fn object(tree: Value) -> Object {
        Object::try_from(tree).unwrap()
    }

    #[test]
    fn a_delete_reads_its_body_and_its_query() {
        let body = object(value!({
            "gracePeriodSeconds": 0, "propagationPolicy": "Orphan", "dryRun": ["All"],
            "preconditions": {"uid": "u"},
        }));
        let options = DeleteOptions::parse(Some(&body), &Query::default()).unwrap();
        assert_eq!(options.grace_period_seconds, Some(0));
        assert_eq!(options.propagation, Some(Propagation::Orphan));
        assert_eq!(options.uid.as_deref(), Some("u"));
        assert!(options.dry_run);
        let query = Query::parse("gracePeriodSeconds=5&orphanDependents=false");
        let options = DeleteOptions::parse(None, &query).unwrap();
        assert_eq!(options.grace_period_seconds, Some(5));
        assert_eq!(options.propagation, Some(Propagation::Background));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for query in ["gracePeriodSeconds=x", "propagationPolicy=Later", "dryRun=some"] {
            assert!(DeleteOptions::parse(None, &Query::parse(query)).is_err(), "{query}");
        }
        assert!(WriteOptions::parse(&Query::parse("dryRun=All&dryRun=x")).is_err());
        assert!(WriteOptions::parse(&Query::parse("fieldValidation=Maybe")).is_err());
    }
}
