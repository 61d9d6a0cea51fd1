//! The group `autoscaling`: stored as v2, also served as v1.

mod autoscaler;

use apimachinery::object::Object;
use apimachinery::value;

use crate::resource::{ResourceDescriptor as Row, Served};

/// The kinds of the group.
pub(crate) const ROWS: &[Row] =
    &[Row::namespaced(("autoscaling", "v2"), "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .strategy(&autoscaler::STRATEGY)
        .columns(autoscaler::COLUMNS)
        .in_all()
        .with_status()
        .also(&[Served {
            group: "autoscaling",
            version: "v1",
            from_stored: to_v1,
            to_stored: to_v2,
            selectable_fields: &[],
        }])];

/// The one metric v1 knows is the CPU target; it keeps its place as the first CPU metric of v2.
fn to_v1(hpa: &mut Object) {
    let target = hpa.at(&["spec", "metrics"]).and_then(|metrics| {
        metrics.as_list()?.iter().find_map(|metric| {
            let resource = metric.at(&["resource"])?;
            (resource.at(&["name"])?.as_str()? == "cpu")
                .then(|| resource.at(&["target", "averageUtilization"])?.as_i64())?
        })
    });
    hpa.remove_at(&["spec", "metrics"]);
    hpa.remove_at(&["spec", "behavior"]);
    if let Some(target) = target {
        hpa.set_at(&["spec", "targetCPUUtilizationPercentage"], value!(target));
    }
    let current = hpa.at(&["status", "currentMetrics"]).and_then(|metrics| {
        let metrics = metrics.as_list()?;
        metrics.iter().find_map(|metric| metric.at(&["resource", "current", "averageUtilization"])?.as_i64())
    });
    hpa.remove_at(&["status", "currentMetrics"]);
    hpa.remove_at(&["status", "conditions"]);
    if let Some(current) = current {
        hpa.set_at(&["status", "currentCPUUtilizationPercentage"], value!(current));
    }
}

fn to_v2(hpa: &mut Object) {
    if let Some(target) = hpa.remove_at(&["spec", "targetCPUUtilizationPercentage"]).and_then(|value| value.as_i64()) {
        hpa.set_at(
            &["spec", "metrics"],
            value!([{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
            }]),
        );
    }
    hpa.remove_at(&["status", "currentCPUUtilizationPercentage"]);
}
