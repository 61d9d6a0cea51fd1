//! One object for each field of a kind: the kind's example with that field set, and what the field needs beside it.

use apimachinery::schema::{Field, Type, TypeId};
use harness::Answer;
use serde_json::{Value, json};

use crate::examples::Example;

/// A field and the objects that set it.
pub(crate) struct Probe {
    /// Where the field is.
    pub(crate) pointer: String,
    base: Value,
    of: Type,
}

impl Probe {
    /// Sends the object with one value after the other until one is accepted; gives back what was sent and what came back,
    /// or why the last one was refused.
    pub(crate) async fn try_each(&self, send: impl AsyncFn(Value) -> Answer) -> Result<(Value, Value), String> {
        let mut tries = candidates(&self.of, self.pointer.rsplit('/').next().unwrap());
        let (mut why, mut was_told) = (String::new(), false);
        while let Some(value) = tries.pop() {
            let mut body = self.base.clone();
            *body.pointer_mut(&self.pointer).unwrap() = value;
            let answer = send(body.clone()).await;
            if answer.code < 300 {
                return Ok((body, answer.body));
            }
            answer.body["message"].as_str().unwrap_or_default().clone_into(&mut why);
            assert!(answer.code < 500, "{}: {why}", self.pointer);
            // A refusal that names what is supported is taken at its word, once.
            if let Some(supported) = why.split("supported values: \"").nth(1).filter(|_| !was_told) {
                was_told = true;
                tries.push(supported.split('"').next().unwrap_or_default().into());
            }
        }
        Err(why)
    }

    /// True for another spelling of the same value: quantities have a canonical form.
    pub(crate) fn means_the_same(&self, kept: Option<&Value>) -> bool {
        self.of == Type::Quantity && kept.is_some_and(|kept| kept.as_str().is_some_and(|text| !text.is_empty()))
    }
}

/// Fields that a client may send and the server decides.
pub(crate) fn is_the_servers_own(kind: &str, pointer: &str) -> bool {
    match kind {
        // Written, never read: it ends up in `data`.
        "Secret" => pointer.starts_with("/stringData"),
        // Who asks is not the client's to say, and what is asked never changes.
        "CertificateSigningRequest" => pointer.starts_with("/spec"),
        // Defaults take it away where there is no affinity.
        "Service" => pointer.starts_with("/spec/sessionAffinityConfig"),
        "Namespace" => pointer.starts_with("/spec/finalizers"),
        // An old name of `serviceAccountName`.
        "Pod" => pointer == "/spec/serviceAccount",
        _ => pointer.ends_with("/template/spec/serviceAccount"),
    }
}

/// A probe for every field of the kind's example that a client may set; statuses have a way of their own.
pub(crate) fn of(example: &Example) -> Vec<Probe> {
    let of = api::schema().type_for_gvk(example.row.group, example.row.version, example.row.kind).unwrap();
    let mut walk = Walk { found: Vec::new(), above: Vec::new(), thin: thin(example.row.kind) };
    walk.object(of, "", &example.object);
    walk.found
}

/// Kinds that carry a template of pods meet only each eighth field of it: pods themselves meet all.
fn thin(kind: &str) -> bool {
    matches!(
        kind,
        "PodTemplate"
            | "ReplicationController"
            | "DaemonSet"
            | "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "CronJob"
            | "Job"
    )
}

struct Walk {
    found: Vec<Probe>,
    above: Vec<TypeId>,
    thin: bool,
}

impl Walk {
    fn object(&mut self, of: TypeId, at: &str, base: &Value) {
        if self.above.contains(&of) {
            return;
        }
        self.above.push(of);
        for field in &api::schema().get(of).fields {
            if !field.tags.is_empty() && !is_skipped(at, field.name()) {
                let at = format!("{at}/{}", field.name());
                let mut base = base.clone();
                place(&mut base, &at, of, field);
                self.value(&field.of, &at, &base);
            }
        }
        self.above.pop();
    }

    fn value(&mut self, of: &Type, at: &str, base: &Value) {
        match of {
            Type::Object(id) if !api::schema().get(*id).fields.is_empty() => self.object(*id, at, base),
            Type::List(of) => self.value(of, &format!("{at}/0"), base),
            Type::Map(of) => self.value(of, &format!("{at}/key"), base),
            _ => self.add(at, of, base),
        }
    }

    fn add(&mut self, at: &str, of: &Type, base: &Value) {
        let in_template = at.contains("/template/spec/");
        let weight = at.bytes().map(usize::from).sum::<usize>();
        if !(self.thin && in_template && weight % 8 != 0) {
            self.found.push(Probe { pointer: at.to_owned(), base: base.clone(), of: of.clone() });
        }
    }
}

/// The server's own fields, and what another test is about.
fn is_skipped(at: &str, field: &str) -> bool {
    let own = ["managedFields", "resourceVersion", "uid", "selfLink", "generation", "namespace", "name"];
    match at {
        "" => field == "status",
        "/metadata" => own.contains(&field) || field.ends_with("Timestamp") || field.ends_with("PeriodSeconds"),
        _ => false,
    }
}

/// Makes room for a field: the structs on the way with what they require, one item in a list, one key in a map.
fn place(base: &mut Value, at: &str, owner: TypeId, field: &Field) {
    let (parent, _) = at.rsplit_once('/').unwrap();
    let beside = required(owner, 0);
    let parent = base.pointer_mut(parent).unwrap();
    if parent.is_null() {
        *parent = json!({});
    }
    for (key, value) in beside.as_object().unwrap() {
        if parent[key].is_null() {
            parent[key] = value.clone();
        }
    }
    let room = room(&field.of, 0);
    merge(&mut parent[field.name()], room);
}

/// The smallest value of a type.
fn room(of: &Type, depth: usize) -> Value {
    match of {
        Type::Object(id) if !api::schema().get(*id).fields.is_empty() => required(*id, depth),
        Type::List(of) => json!([room(of, depth)]),
        Type::Map(of) => json!({"key": room(of, depth)}),
        of => candidates(of, "").pop().unwrap(),
    }
}

/// What a type requires, with the smallest values.
fn required(of: TypeId, depth: usize) -> Value {
    let mut object = json!({});
    if depth < 6 {
        for field in api::schema().get(of).fields.iter().filter(|field| field.required && !field.tags.is_empty()) {
            object[field.name()] = match &field.of {
                Type::Object(_) | Type::List(_) | Type::Map(_) => room(&field.of, depth + 1),
                of => candidates(of, field.name()).pop().unwrap(),
            };
        }
    }
    object
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            for (index, value) in from.into_iter().enumerate() {
                match into.get_mut(index) {
                    Some(present) => merge(present, value),
                    None => into.push(value),
                }
            }
        }
        (into, from) if into.is_null() => *into = from,
        _ => {}
    }
}

/// Values of a type, the first one to try last.
fn candidates(of: &Type, name: &str) -> Vec<Value> {
    let lower = name.to_lowercase();
    match of {
        Type::String if lower.ends_with("path") => vec!["text".into(), "/text".into()],
        Type::String if lower.ends_with("ip") || lower.ends_with("ips") => vec!["192.0.2.7".into()],
        Type::String => vec!["192.0.2.7".into(), "example.com/text".into(), "text".into()],
        Type::Bytes => vec!["AQID".into()],
        Type::Bool => vec![true.into()],
        Type::Int32 | Type::Int64 => vec![30001.into(), 1.into(), 7.into()],
        Type::Double => vec![json!(1.5)],
        Type::Quantity => vec!["3".into()],
        Type::Time => vec!["2026-01-02T03:04:05Z".into()],
        Type::MicroTime => vec!["2026-01-02T03:04:05.000006Z".into()],
        Type::Duration => vec!["1m30s".into()],
        Type::IntOrString => vec!["10%".into(), 1.into()],
        Type::Strings => vec![json!(["one", "two"])],
        Type::SchemaOrBool(_) => vec![true.into()],
        Type::SchemaOrList(_) => vec![json!({"type": "string"})],
        Type::SchemaOrStrings(_) => vec![json!(["one"])],
        // A struct without fields.
        Type::Object(_) => vec![json!({})],
        _ => vec![json!({"a": 1})],
    }
}
