//! From `templates/` to text. Pure: the templates are part of the program.

use anyhow::{Context as _, Result};
use handlebars::Handlebars;
use serde::Serialize;

/// Every template by the name it is rendered under: its path below `templates/` without `.hbs`.
const TEMPLATES: &[(&str, &str)] = &[
    ("addons/cluster-dns.yaml", include_str!("../../../templates/addons/cluster-dns.yaml.hbs")),
    ("addons/kube-proxy.yaml", include_str!("../../../templates/addons/kube-proxy.yaml.hbs")),
    ("balancer/haproxy.cfg", include_str!("../../../templates/balancer/haproxy.cfg.hbs")),
    ("balancer/keepalived.conf", include_str!("../../../templates/balancer/keepalived.conf.hbs")),
    ("cloud-init/meta-data", include_str!("../../../templates/cloud-init/meta-data.hbs")),
    ("cloud-init/network-config", include_str!("../../../templates/cloud-init/network-config.hbs")),
    ("cloud-init/user-data", include_str!("../../../templates/cloud-init/user-data.hbs")),
    ("etcd/etcd.service", include_str!("../../../templates/etcd/etcd.service.hbs")),
    ("kubelet/config.yaml", include_str!("../../../templates/kubelet/config.yaml.hbs")),
    ("kubelet/kubelet.service", include_str!("../../../templates/kubelet/kubelet.service.hbs")),
    ("libvirt/domain.xml", include_str!("../../../templates/libvirt/domain.xml.hbs")),
    ("libvirt/network.xml", include_str!("../../../templates/libvirt/network.xml.hbs")),
    ("node/masquerade.nft", include_str!("../../../templates/node/masquerade.nft.hbs")),
    ("static-pods/etcd.yaml", include_str!("../../../templates/static-pods/etcd.yaml.hbs")),
    ("static-pods/kube-apiserver.yaml", include_str!("../../../templates/static-pods/kube-apiserver.yaml.hbs")),
    (
        "static-pods/kube-controller-manager.yaml",
        include_str!("../../../templates/static-pods/kube-controller-manager.yaml.hbs"),
    ),
    ("static-pods/kube-scheduler.yaml", include_str!("../../../templates/static-pods/kube-scheduler.yaml.hbs")),
];

/// Renders one template; a value that the template wants and `values` lacks is an error, never an empty word.
pub fn render(name: &str, values: &impl Serialize) -> Result<String> {
    let source = TEMPLATES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source);
    let source = source.with_context(|| format!("there is no template {name}"))?;
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    if !name.starts_with("libvirt/") {
        // XML is what the engine escapes for; in YAML and unit files an escaped quote would be wrong.
        engine.register_escape_fn(handlebars::no_escape);
    }
    engine.render_template(source, values).with_context(|| format!("cannot render templates/{name}.hbs"))
}

#[cfg(test)]
mod tests;
