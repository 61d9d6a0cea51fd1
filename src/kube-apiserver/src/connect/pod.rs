//! exec, attach and port-forward: which kubelet is asked for what.

use apimachinery::{Object, Status};
use http::Request;
use http::uri::PathAndQuery;
use hyper::body::Incoming;

use super::{pod_and_node, remote_command, tunnel, upgrade};
use crate::app::App;
use crate::reply::Response;
use crate::request_info::RequestInfo;

/// Opens the stream.
pub(super) async fn run(app: &App, info: &RequestInfo, request: Request<Incoming>) -> Result<Response, Status> {
    let (pod, node) = pod_and_node(app, info).await?;
    let path = path(info, &pod)?;
    let node = node.ok_or_else(|| Status::bad_request(format!("pod {} does not have a host assigned", pod.name())))?;
    let target = app.kubelets.target(&node, false)?;
    if info.subresource == "portforward" && tunnel::is_wanted(request.headers()) {
        return tunnel::run(&target, path, request).await;
    }
    if info.subresource != "portforward" && remote_command::is_wanted(request.headers()) {
        return remote_command::run(target, path, info, request);
    }
    upgrade::run(&target, path, request).await
}

/// The kubelet's path and its names of the parameters.
fn path(info: &RequestInfo, pod: &Object) -> Result<PathAndQuery, Status> {
    let (namespace, name) = (pod.namespace(), pod.name());
    if info.subresource == "portforward" {
        let ports = info.query.all("ports").flat_map(|ports| ports.split(','));
        let ports = ports.map(|port| Ok(("port", port_number(port)?))).collect::<Result<Vec<_>, Status>>()?;
        return assemble(&["portForward", namespace, name], &ports);
    }
    let container = container(info.query.get("container").unwrap_or_default(), pod)?;
    let mut query = Vec::new();
    for (asked, kubelets) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if info.query.flag(asked) {
            query.push((kubelets, "1".to_owned()));
        }
    }
    if info.subresource == "exec" {
        query.extend(info.query.all("command").map(|word| ("command", word.to_owned())));
    }
    assemble(&[&info.subresource, namespace, name, container], &query)
}

fn port_number(text: &str) -> Result<String, Status> {
    let port = text.trim().parse::<u16>().ok().filter(|port| *port != 0);
    port.map(|port| port.to_string()).ok_or_else(|| Status::bad_request(format!("invalid port {text:?}")))
}

/// The container asked for if the pod has it, or the only one.
pub(super) fn container<'a>(asked: &str, pod: &'a Object) -> Result<&'a str, Status> {
    let names = |field: &str| -> Vec<&'a str> {
        pod.list_at(&["spec", field]).iter().map(|container| container.str("name")).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if asked.is_empty() {
        return match main.as_slice() {
            [only] => Ok(only),
            [] => Err(Status::bad_request(format!("a container name must be specified for pod {}", pod.name()))),
            many => Err(Status::bad_request(choose(pod.name(), many, &init))),
        };
    }
    let mut all = main.into_iter().chain(init).chain(ephemeral);
    all.find(|name| *name == asked)
        .ok_or_else(|| Status::bad_request(format!("container {asked} is not valid for pod {}", pod.name())))
}

fn choose(pod: &str, main: &[&str], init: &[&str]) -> String {
    let main = main.join(" ");
    let text = format!("a container name must be specified for pod {pod}, choose one of: [{main}]");
    if init.is_empty() {
        return text;
    }
    format!("{text} or one of the init containers: [{}]", init.join(" "))
}

/// A path of segments and a form-encoded query; nothing in them can end the request line.
pub(super) fn assemble(segments: &[&str], query: &[(&str, String)]) -> Result<PathAndQuery, Status> {
    let mut text = String::new();
    for segment in segments {
        if segment.is_empty() || matches!(*segment, "." | "..") {
            return Err(Status::bad_request("invalid path"));
        }
        text.push('/');
        encode(segment, &mut text);
    }
    for (number, (key, value)) in query.iter().enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        encode(key, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    PathAndQuery::try_from(text).map_err(|_| Status::bad_request("invalid path"))
}

/// Percent-encodes everything but unreserved characters.
pub(super) fn encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests;
