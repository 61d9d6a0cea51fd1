//! The paths of all resources and what can be done there.

use api::{ResourceDescriptor, Subresource};
use apimachinery::schema::TypeId;
use serde_json::{Value, json};

use super::Tree;
use super::definitions::Dialect;

const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Query parameters: name, type, meaning.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
const WRITE: [Parameter; 3] = [
    ("dryRun", "string", "'All': everything happens but the change is not kept."),
    ("fieldManager", "string", "The name of the actor that makes the change."),
    ("fieldValidation", "string", "What is done about unknown and duplicate fields: Ignore, Warn or Strict."),
];
const FORCE: Parameter = ("force", "boolean", "Take over fields that others own. Apply requests only.");
const DELETE: [Parameter; 4] = [
    ("dryRun", "string", "'All': everything happens but the change is not kept."),
    ("gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0 is at once."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "Ask for events that only tell the revision reached."),
    ("continue", "string", "The token of the page before."),
    ("fieldSelector", "string", "Restrict to objects whose fields have these values."),
    ("labelSelector", "string", "Restrict to objects whose labels match."),
    ("limit", "integer", "The most objects in a page."),
    ("resourceVersion", "string", "How fresh the answer must be, or where a watch starts."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with the state as it is."),
    ("timeoutSeconds", "integer", "How long the answer may take or a watch lasts."),
    ("watch", "boolean", "Follow changes instead of listing."),
];

/// Every row in every version it is served in.
pub(super) fn served() -> impl Iterator<Item = (&'static ResourceDescriptor, &'static str, &'static str)> {
    api::resources().iter().flat_map(|row| {
        let others = row.also_served.iter().map(move |served| (row, served.group, served.version));
        std::iter::once((row, row.group, row.version)).chain(others)
    })
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// The paths of the chosen groups and versions, and the types they speak of.
pub(super) fn of(dialect: Dialect, chosen: impl Fn(&str, &str) -> bool) -> (Tree, Vec<TypeId>) {
    let mut writer = Writer { dialect, paths: Tree::new(), types: Vec::new() };
    for (row, group, version) in served().filter(|(_, group, version)| chosen(group, version)) {
        writer.resource(row, group, version);
    }
    (writer.paths, writer.types)
}

struct Writer {
    dialect: Dialect,
    paths: Tree,
    types: Vec<TypeId>,
}

/// What an operation is about.
#[derive(Clone)]
struct Subject {
    group: String,
    version: String,
    kind: String,
    /// What tells operations on the same kind apart: `Namespaced`, `Status`, `ForAllNamespaces`.
    scope: String,
    list_kind: String,
}

impl Writer {
    fn resource(&mut self, row: &ResourceDescriptor, group: &str, version: &str) {
        let base = base(group, version);
        let scope = if row.is_namespaced() { "Namespaced" } else { "" };
        let subject = Subject {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: row.kind.to_owned(),
            scope: scope.to_owned(),
            list_kind: row.list_kind(),
        };
        let mut parameters = vec![query(self.dialect, PRETTY)];
        let collection = if row.is_namespaced() {
            if row.verbs.contains(&"list") {
                let all = Subject { scope: "ForAllNamespaces".to_owned(), ..subject.clone() };
                self.path(format!("{base}/{}", row.plural), &["list"], &all, &parameters);
            }
            parameters.insert(
                0,
                in_path(self.dialect, "namespace", "object name and auth scope, such as for teams and projects"),
            );
            format!("{base}/namespaces/{{namespace}}/{}", row.plural)
        } else {
            format!("{base}/{}", row.plural)
        };
        let have = |wanted: &[&'static str]| -> Vec<&'static str> {
            wanted.iter().copied().filter(|verb| row.verbs.contains(verb)).collect()
        };
        self.path(collection.clone(), &have(&["list", "create", "deletecollection"]), &subject, &parameters);
        parameters.insert(0, in_path(self.dialect, "name", &format!("name of the {}", row.kind)));
        let item = format!("{collection}/{{name}}");
        self.path(item.clone(), &have(&["get", "update", "patch", "delete"]), &subject, &parameters);
        for sub in row.subresources {
            self.path(format!("{item}/{}", sub.name), sub.verbs, &of_sub(&subject, sub), &parameters);
        }
    }

    fn path(&mut self, path: String, verbs: &[&str], subject: &Subject, parameters: &[Value]) {
        if verbs.is_empty() {
            return;
        }
        let mut item = Tree::new();
        for verb in verbs {
            let method = match *verb {
                "create" => "post",
                "update" => "put",
                "deletecollection" => "delete",
                "get" | "list" => "get",
                other => other,
            };
            item.insert(method.to_owned(), self.operation(verb, subject));
        }
        item.insert("parameters".into(), json!(parameters));
        self.paths.insert(path, Value::Object(item));
    }

    fn operation(&mut self, verb: &str, subject: &Subject) -> Value {
        let answer = match verb {
            "list" => self.kind(subject, &subject.list_kind),
            "delete" | "deletecollection" => self.named("meta.v1.Status"),
            _ => self.kind(subject, &subject.kind),
        };
        let group = if subject.group.is_empty() { "core" } else { &subject.group };
        let group: String = group.trim_end_matches(".k8s.io").split('.').map(capitalize).collect();
        let version = capitalize(&subject.version);
        let action = match verb {
            "get" => "read",
            "update" => "replace",
            "deletecollection" => "deleteCollection",
            other => other,
        };
        let id = if subject.scope == "ForAllNamespaces" {
            format!("{action}{group}{version}{}{}", subject.kind, subject.scope)
        } else {
            format!("{action}{group}{version}{}{}", subject.scope, subject.kind)
        };
        let query: Vec<Value> = parameters_of(verb).into_iter().map(|one| query(self.dialect, one)).collect();
        let mut operation = json!({
            "operationId": id,
            "parameters": query,
            "x-kubernetes-action": if verb == "update" { "put" } else if verb == "create" { "post" } else { verb },
            "x-kubernetes-group-version-kind": { "group": subject.group, "version": subject.version, "kind": subject.kind },
        });
        let code = if verb == "create" { "201" } else { "200" };
        operation["responses"] = json!({ code: self.content("OK", answer) });
        let body = match verb {
            "create" | "update" => self.kind(subject, &subject.kind),
            "patch" => Some(json!({ "type": "object" })),
            "delete" | "deletecollection" => self.named("meta.v1.DeleteOptions"),
            _ => None,
        };
        self.body(&mut operation, verb, body);
        operation
    }

    fn content(&self, description: &str, schema: Option<Value>) -> Value {
        match (self.dialect, schema) {
            (_, None) => json!({ "description": description }),
            (Dialect::V2, Some(schema)) => json!({ "description": description, "schema": schema }),
            (Dialect::V3, Some(schema)) => {
                json!({ "description": description, "content": { "application/json": { "schema": schema } } })
            }
        }
    }

    fn body(&self, operation: &mut Value, verb: &str, schema: Option<Value>) {
        let Some(schema) = schema else { return };
        let required = !verb.starts_with("delete");
        match self.dialect {
            Dialect::V2 => {
                let body = json!({ "name": "body", "in": "body", "required": required, "schema": schema });
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.push(body);
                }
                operation["consumes"] = if verb == "patch" { json!(PATCH_TYPES) } else { json!(["*/*"]) };
                operation["produces"] = json!(["application/json", "application/yaml"]);
            }
            Dialect::V3 => {
                let types: &[&str] = if verb == "patch" { &PATCH_TYPES } else { &["*/*"] };
                let content: Tree =
                    types.iter().map(|name| ((*name).to_owned(), json!({ "schema": schema }))).collect();
                operation["requestBody"] = json!({ "content": content, "required": required });
            }
        }
    }

    fn kind(&mut self, subject: &Subject, kind: &str) -> Option<Value> {
        let id = api::schema().type_for_gvk(&subject.group, &subject.version, kind)?;
        Some(self.reference(id))
    }

    fn named(&mut self, name: &str) -> Option<Value> {
        let id = api::schema().type_named(name)?;
        Some(self.reference(id))
    }

    fn reference(&mut self, id: TypeId) -> Value {
        self.types.push(id);
        json!({ "$ref": self.dialect.reference(&api::schema().get(id).openapi_name()) })
    }
}

fn of_sub(parent: &Subject, sub: &Subresource) -> Subject {
    let suffix: String = sub.name.split('/').map(capitalize).collect();
    let own = !sub.kind.is_empty();
    let (group, version) = if own { sub.group_version } else { (&*parent.group, &*parent.version) };
    Subject {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: if own { sub.kind.to_owned() } else { parent.kind.clone() },
        scope: format!("{}{}{suffix}", parent.scope, if own { &*parent.kind } else { "" }),
        list_kind: String::new(),
    }
}

fn parameters_of(verb: &str) -> Vec<Parameter> {
    match verb {
        "create" | "update" => WRITE.to_vec(),
        "patch" => WRITE.into_iter().chain([FORCE]).collect(),
        "list" => LIST.to_vec(),
        "delete" => DELETE.to_vec(),
        "deletecollection" => DELETE.into_iter().chain(LIST).collect(),
        _ => Vec::new(),
    }
}

fn query(dialect: Dialect, (name, kind, meaning): Parameter) -> Value {
    match dialect {
        Dialect::V2 => {
            json!({ "name": name, "in": "query", "description": meaning, "type": kind, "uniqueItems": true })
        }
        Dialect::V3 => {
            json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": kind, "uniqueItems": true } })
        }
    }
}

fn in_path(dialect: Dialect, name: &str, meaning: &str) -> Value {
    let mut value = match dialect {
        Dialect::V2 => json!({ "type": "string", "uniqueItems": true }),
        Dialect::V3 => json!({ "schema": { "type": "string", "uniqueItems": true } }),
    };
    value["name"] = name.into();
    value["in"] = "path".into();
    value["description"] = meaning.into();
    value["required"] = true.into();
    value
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}
