//! Horizontal pod autoscalers, as version 2 stores them.

mod rules;

use crate::check;
use crate::fill::{fill, fill_text, part, spec};
use crate::print::{self, AGE, NAME};
use crate::resource::{Column, NOOP, Strategy};
use crate::status;
use apimachinery::object::Object;
use apimachinery::value;
use apimachinery::value::Value;

pub(super) const STRATEGY: Strategy = Strategy {
    default,
    prepare_create: status::drop_status,
    prepare_update: status::keep_status,
    prepare_status: status::only_status,
    validate: rules::validate,
    ..NOOP
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::new("Reference", |hpa, _| {
        let target = hpa.map_at(&["spec", "scaleTargetRef"]);
        Value::from(format!("{}/{}", target.str("kind"), target.str("name")))
    }),
    Column::new("Targets", |hpa, _| Value::from(targets(hpa))),
    Column::new("MinPods", |hpa, _| {
        let least = hpa.i64_at(&["spec", "minReplicas"]);
        Value::from(least.map_or(print::UNSET.to_owned(), |least| least.to_string()))
    }),
    Column::new("MaxPods", |hpa, _| print::number(hpa, &["spec", "maxReplicas"])).kind("integer"),
    Column::new("Replicas", |hpa, _| print::number(hpa, &["status", "currentReplicas"])).kind("integer"),
    AGE,
];

fn default(hpa: &mut Object) {
    let spec = spec(hpa);
    fill(spec, "minReplicas", 1);
    if check::list(spec, "metrics").is_empty() {
        let cpu = value!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]);
        spec.insert("metrics", cpu);
    }
    let Some(behavior) = part(spec, "behavior") else { return };
    if let Some(up) = part(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        fill_text(up, "selectPolicy", "Max");
        fill(
            up,
            "policies",
            value!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        );
    }
    if let Some(down) = part(behavior, "scaleDown") {
        fill_text(down, "selectPolicy", "Max");
        fill(down, "policies", value!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

/// Each metric as current/wanted, the first two written out.
fn targets(hpa: &Object) -> String {
    let metrics = hpa.list_at(&["spec", "metrics"]);
    let current = hpa.list_at(&["status", "currentMetrics"]);
    let all: Vec<_> = metrics.iter().enumerate().map(|(at, metric)| one_target(metric, current.get(at))).collect();
    match all.len() {
        0 => print::NONE.to_owned(),
        more @ 3.. => format!("{} + {} more...", all[..2].join(", "), more - 2),
        _ => all.join(", "),
    }
}

fn one_target(metric: &Value, current: Option<&Value>) -> String {
    let (field, name) = match metric.str("type") {
        "Resource" => ("resource", metric.at(&["resource", "name"]).and_then(Value::as_str)),
        "ContainerResource" => ("containerResource", metric.at(&["containerResource", "name"]).and_then(Value::as_str)),
        "Pods" => ("pods", None),
        "Object" => ("object", None),
        "External" => ("external", None),
        _ => return print::UNKNOWN.to_owned(),
    };
    let label = name.map_or(String::new(), |name| format!("{name}: "));
    for (key, unit) in [("averageUtilization", "%"), ("averageValue", ""), ("value", "")] {
        if let Some(wanted) = metric.at(&[field, "target", key]) {
            let now = current.and_then(|current| current.at(&[field, "current", key]));
            let now = now.map_or(print::UNKNOWN.to_owned(), |now| format!("{}{unit}", plain(now)));
            return format!("{label}{now}/{}{unit}", plain(wanted));
        }
    }
    format!("{label}{}/<auto>", print::UNKNOWN)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
