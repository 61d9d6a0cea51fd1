//! One cluster's entries in a kubeconfig of many.
//!
//! Ours carry an extension with the cluster's name, so that entries of others are never taken for ours. Fields that we do
//! not know stay as they are.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Refusal};

/// The name of the extension that marks what is ours.
const MARK: &str = "provision.dev";
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// A kubeconfig as a tree.
pub(super) struct Document {
    file: String,
    root: Map<String, Value>,
}

/// A cluster that goes into a kubeconfig.
pub(super) struct Entry<'a> {
    /// The cluster's name, which is its mark.
    pub(super) cluster: &'a str,
    /// What its cluster, user and context are called.
    pub(super) context: &'a str,
    /// Its own kubeconfig, with one of each.
    pub(super) kubeconfig: &'a str,
    /// It becomes the current context.
    pub(super) current: bool,
}

impl Document {
    /// Reads a kubeconfig; an empty text is an empty one.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self> {
        let refuse = |why: String| {
            Refusal::new(Exit::Failed, format!("{file} {why}; it was left as it is"))
                .hint("mend it, or name another file with --into FILE")
        };
        let value = if text.trim().is_empty() {
            json!({ "apiVersion": "v1", "kind": "Config" })
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| refuse(format!("is not YAML ({})", error.without_snippet())))?
        };
        let Value::Object(root) = value else { return Err(refuse("is not a kubeconfig".to_owned()).into()) };
        if root.get("kind").is_some_and(|kind| kind != "Config") {
            return Err(refuse(format!("is a {}, not a kubeconfig", root["kind"])).into());
        }
        if let Some(list) =
            LISTS.iter().find(|list| root.get(**list).is_some_and(|list| !list.is_array() && !list.is_null()))
        {
            return Err(refuse(format!("has {list} that are no list")).into());
        }
        Ok(Self { file: file.to_owned(), root })
    }

    pub(super) fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.root).expect("what was read as YAML can be written as YAML")
    }

    /// Adds a cluster, or renews it if it is there.
    ///
    /// # Errors
    /// An entry of that name is somebody else's.
    pub(super) fn merge(&mut self, entry: &Entry<'_>) -> Result<()> {
        let own = Self::parse("the cluster's kubeconfig", entry.kubeconfig)?;
        let name = entry.context;
        for list in LISTS {
            let taken = self.list(list).iter().find(|other| other["name"] == name);
            if taken.is_some_and(|other| mark_of(other, list) != Some(entry.cluster)) {
                let message = format!("{} has {list} called {name} that are not this cluster's", self.file);
                return Err(Refusal::new(Exit::Failed, message).hint("choose another name with --context NAME").into());
            }
        }
        self.forget(entry.cluster);
        for list in LISTS {
            let kind = &list[..list.len() - 1];
            let mut content =
                own.root.get(list).and_then(|list| list.get(0)).map_or(json!({}), |item| item[kind].clone());
            if list == "contexts" {
                content = json!({ "cluster": name, "user": name });
            }
            content["extensions"] = json!([{ "name": MARK, "extension": { "cluster": entry.cluster } }]);
            self.list(list).push(json!({ "name": name, kind: content }));
        }
        let current = self.root.get("current-context").and_then(Value::as_str).unwrap_or_default();
        if entry.current || current.is_empty() {
            self.root.insert("current-context".to_owned(), name.into());
        }
        Ok(())
    }

    /// Takes a cluster out; whether it was there. A current context that goes is none afterwards.
    pub(super) fn remove(&mut self, cluster: &str) -> bool {
        let gone = self.forget(cluster);
        let current = self.root.get("current-context").and_then(Value::as_str).unwrap_or_default().to_owned();
        if gone.contains(&current) {
            self.root.insert("current-context".to_owned(), "".into());
        }
        !gone.is_empty()
    }

    /// Takes out what carries the cluster's mark; the names of the contexts that went.
    fn forget(&mut self, cluster: &str) -> Vec<String> {
        let mut gone = Vec::new();
        for list in LISTS {
            self.list(list).retain(|item| {
                let ours = mark_of(item, list) == Some(cluster);
                if ours && list == "contexts" {
                    gone.push(item["name"].as_str().unwrap_or_default().to_owned());
                }
                !ours
            });
        }
        gone
    }

    fn list(&mut self, name: &str) -> &mut Vec<Value> {
        let list = self.root.entry(name).or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().expect("parsing lets nothing but lists pass")
    }
}

/// The cluster whose mark an entry carries.
fn mark_of<'a>(item: &'a Value, list: &str) -> Option<&'a str> {
    let extensions = item[&list[..list.len() - 1]]["extensions"].as_array()?;
    extensions.iter().find(|extension| extension["name"] == MARK)?["extension"]["cluster"].as_str()
}
