//! What a request asks for, read once from its method and path; authorization, admission and the verbs share it.

use http::Method;

use crate::query::{Query, percent_decode};

/// The meaning of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// True below `/api/VERSION/…` and `/apis/GROUP/VERSION/…`.
    pub is_resource: bool,
    /// The path as it was sent, without the query.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case
    /// method for what is no resource.
    pub verb: String,
    /// The group; empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; for the resource `namespaces` its name; empty otherwise.
    pub namespace: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource, or empty.
    pub subresource: String,
    /// The object's name, or empty.
    pub name: String,
    /// Path segments behind the subresource, as proxies take them; still percent-encoded.
    pub rest: Vec<String>,
    /// True if the path ended with a slash, which proxies pass on.
    pub trailing_slash: bool,
    /// The decoded query.
    pub query: Query,
    /// True for a server-side apply, which only the content type tells.
    pub applies: bool,
}

impl RequestInfo {
    /// Reads a request line.
    pub fn parse(method: &Method, path: &str, query: &str) -> Self {
        let mut info = Self {
            path: path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            query: Query::parse(query),
            trailing_slash: path.len() > 1 && path.ends_with('/'),
            ..Self::default()
        };
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                (*version).clone_into(&mut info.version);
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                (*group).clone_into(&mut info.group);
                (*version).clone_into(&mut info.version);
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        verb_of(method).clone_into(&mut info.verb);
        info.read_resource(rest);
        info.refine_verb();
        info
    }

    fn read_resource(&mut self, mut segments: &[&str]) {
        if let ["watch", rest @ ..] = segments {
            "watch".clone_into(&mut self.verb);
            segments = rest;
        }
        if let ["namespaces", namespace, rest @ ..] = segments {
            self.namespace = percent_decode(namespace);
            if !rest.is_empty() && !matches!(rest[0], "status" | "finalize") {
                segments = rest;
            }
        }
        let mut decoded = segments.iter().take(3).map(|segment| percent_decode(segment));
        self.resource = decoded.next().unwrap_or_default();
        self.name = decoded.next().unwrap_or_default();
        self.subresource = decoded.next().unwrap_or_default();
        self.rest = segments.iter().skip(3).map(|&segment| segment.to_owned()).collect();
    }

    fn refine_verb(&mut self) {
        if self.name.is_empty() {
            match self.verb.as_str() {
                "get" => "list".clone_into(&mut self.verb),
                "delete" => "deletecollection".clone_into(&mut self.verb),
                _ => {}
            }
        }
        if self.verb == "list" && self.query.flag("watch") {
            "watch".clone_into(&mut self.verb);
        }
        // Clients may watch or list one object by a field selector; RBAC with resourceNames sees its name.
        if self.name.is_empty()
            && matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && let Some(name) = self.query.get("fieldSelector").and_then(selected_name)
        {
            name.clone_into(&mut self.name);
        }
    }

    /// The name in the path, not one from a field selector.
    pub fn path_name(&self) -> &str {
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") && self.subresource.is_empty() {
            return "";
        }
        &self.name
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        api::resource::join_group_version(&self.group, &self.version)
    }

    /// `pods` or `pods/status`, as RBAC rules and metrics write it.
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// True for requests that stay open: watches and streams.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch" || matches!(self.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name in `metadata.name=NAME`, if the selector asks for exactly one.
fn selected_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests;
