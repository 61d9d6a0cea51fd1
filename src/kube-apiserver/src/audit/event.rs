//! One event, from what a request knows to the JSON of `audit.k8s.io/v1`.

use apimachinery::protobuf;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Document, Facts, Level, Stage, Trail};
use crate::request_info::RequestInfo;
use crate::user::User;

/// What an event is made of; the thread of the log makes it.
pub(super) struct Entry {
    stage: Stage,
    at: Timestamp,
    code: Option<StatusCode>,
    level: Level,
    omit_managed_fields: bool,
    head: Value,
    facts: Facts,
}

impl Entry {
    pub(super) fn new(trail: &Trail, info: &RequestInfo, (stage, code): (Stage, Option<StatusCode>)) -> Self {
        let rule = trail.rule.get().cloned().unwrap_or_default();
        let mut head = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": rule.level.name(),
            "auditID": trail.id,
            "stage": stage.name(),
            "requestURI": trail.uri,
            "verb": info.verb,
            "sourceIPs": trail.sources,
            "requestReceivedTimestamp": micro(trail.received),
        });
        if !trail.agent.is_empty() {
            head["userAgent"] = json!(trail.agent);
        }
        if info.is_resource {
            head["objectRef"] = reference(info);
        }
        let mut facts = trail.facts().clone();
        if stage == Stage::RequestReceived {
            facts.request = None;
        }
        Self {
            stage,
            at: Timestamp::now(),
            code,
            level: rule.level,
            omit_managed_fields: rule.omit_managed_fields,
            head,
            facts,
        }
    }

    /// The event as one line of at most so many bytes: one that is larger goes without its bodies, and if it is too large
    /// all the same, there is none.
    pub(super) fn into_line(self, most: Option<usize>) -> Option<Vec<u8>> {
        let fits = |line: &Vec<u8>| most.is_none_or(|most| line.len() <= most);
        let mut event = self.into_event();
        let whole = line(&event);
        if fits(&whole) {
            return Some(whole);
        }
        if let Some(fields) = event.as_object_mut() {
            fields.remove("requestObject");
            fields.remove("responseObject");
        }
        event["annotations"]["audit.k8s.io/truncated"] = json!("true");
        Some(line(&event)).filter(fits)
    }

    fn into_event(self) -> Value {
        let mut event = self.head;
        event["user"] = self.facts.user.as_ref().map_or_else(|| json!({}), person);
        if let Some(user) = &self.facts.impersonated {
            event["impersonatedUser"] = person(user);
        }
        event["stageTimestamp"] = json!(micro(self.at));
        let request = self.facts.request.as_ref().and_then(|body| tree(body, self.omit_managed_fields));
        let answer = self.facts.response.as_ref().and_then(|body| tree(body, self.omit_managed_fields));
        if let Some(code) = self.code {
            event["responseStatus"] = status(code, answer.as_ref());
        }
        if event["objectRef"].is_object() {
            let known = request.as_ref().or(answer.as_ref().filter(|answer| answer["kind"] != "Status"));
            complete(&mut event["objectRef"], known);
        }
        if let Some(request) = request.filter(|_| self.level >= Level::Request) {
            event["requestObject"] = request;
        }
        if self.stage == Stage::ResponseComplete
            && let Some(answer) = answer.filter(|_| self.level == Level::RequestResponse)
        {
            event["responseObject"] = answer;
        }
        if let Some((allowed, reason)) = &self.facts.allowed {
            event["annotations"] = json!({
                "authorization.k8s.io/decision": if *allowed { "allow" } else { "forbid" },
                "authorization.k8s.io/reason": reason,
            });
        }
        event
    }
}

fn line(event: &Value) -> Vec<u8> {
    let mut line = event.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn person(user: &User) -> Value {
    let mut person = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        person["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        person["extra"] = json!(user.extra);
    }
    person
}

fn reference(info: &RequestInfo) -> Value {
    let fields = [
        ("resource", &info.resource),
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("apiVersion", &info.version),
        ("subresource", &info.subresource),
    ];
    let told = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(told.map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

/// Fills in what only a body tells.
fn complete(reference: &mut Value, object: Option<&Value>) {
    let Some(metadata) = object.map(|object| &object["metadata"]) else { return };
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        if reference[field].is_null()
            && let Some(text) = metadata[field].as_str().filter(|text| !text.is_empty())
        {
            reference[field] = json!(text);
        }
    }
    // Asking for what is absent has put nulls in.
    if let Some(fields) = reference.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

fn status(code: StatusCode, answer: Option<&Value>) -> Value {
    let mut status = json!({"metadata": {}, "code": code.as_u16()});
    if let Some(answer) = answer.filter(|answer| answer["kind"] == "Status") {
        for field in ["status", "message", "reason", "details"] {
            if !answer[field].is_null() {
                status[field] = answer[field].clone();
            }
        }
    }
    status
}

/// A body as JSON; none if it is none of ours.
fn tree(document: &Document, omit_managed_fields: bool) -> Option<Value> {
    let bytes = &document.bytes;
    let mut value: Value = if protobuf::is_protobuf(bytes) {
        let object = protobuf::decode(bytes, api::schema(), None).ok()?;
        serde_json::from_slice(&serde_json::to_vec(&object.into_value()).ok()?).ok()?
    } else if document.media.contains("yaml") {
        serde_saphyr::from_slice(bytes).ok()?
    } else {
        serde_json::from_slice(bytes).ok()?
    };
    if omit_managed_fields {
        forget_managers(&mut value);
        let items = value.get_mut("items").and_then(Value::as_array_mut);
        items.into_iter().flatten().for_each(forget_managers);
    }
    Some(value)
}

fn forget_managers(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        Map::remove(metadata, "managedFields");
    }
}
