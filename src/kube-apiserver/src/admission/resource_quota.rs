//! `ResourceQuota`: a namespace uses no more than its quotas allow, and every use is written down at once.
//!
//! The usage in the status of a quota is charged here, by a guarded write, before the object is stored;
//! what becomes of it later (deletions) is counted anew by the quota controller.

mod configuration;
mod request;

use std::sync::{Arc, Mutex, PoisonError};

use api::quota::{Amounts, Meter};
use apimachinery::Status;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::app::App;
use crate::registry::Store;
use crate::verbs::store::Cursor;
pub(super) use configuration::{Configuration, File};
use request::Request;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ResourceQuota",
    by_default: true,
    handles: |attributes| {
        attributes.operation != Operation::Delete
            && attributes.resource.descriptor.is_namespaced()
            && Meter::of(attributes.resource.descriptor)
                .is_some_and(|meter| costs(&meter, attributes.operation, &attributes.info.subresource))
    },
    mutate: None,
    validate: Some(validate),
};

/// Whether a write can change what is used.
fn costs(meter: &Meter, operation: Operation, subresource: &str) -> bool {
    match (operation, subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => meter.is_service() || meter.is_volume_claim() || meter.is_claim_of_devices(),
        (Operation::Update, "resize") => meter.is_pod(),
        (Operation::Update, "status") => meter.is_volume_claim(),
        _ => false,
    }
}

/// What was charged for a write that has not happened yet.
#[derive(Default)]
pub struct Charges(Mutex<Vec<Charge>>);

/// What one quota was charged.
struct Charge {
    namespace: String,
    quota: String,
    amounts: Amounts,
}

impl Charges {
    /// Gives everything back, because the write did not happen.
    pub async fn refund(&self, app: &App) {
        let charges = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for charge in charges {
            // What cannot be given back now the controller finds out later.
            if let Err(status) = give_back(app, &charge).await {
                tracing::warn!(quota = charge.quota, namespace = charge.namespace, "usage is not given back: {status}");
            }
        }
    }

    fn add(&self, charge: Charge) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
    }
}

fn quotas(app: &App) -> Option<&Arc<Store>> {
    app.registry.stored("", "resourcequotas")?.store.as_ref()
}

async fn give_back(app: &App, charge: &Charge) -> Result<(), Status> {
    let Some(store) = quotas(app) else { return Ok(()) };
    let mut cursor = Cursor::open(store, store.key(&charge.namespace, &charge.quota)).await?;
    while let Some(current) = cursor.current() {
        let next = request::without(&current.object(), &charge.amounts);
        if cursor.write(&next, None).await?.is_some() {
            break;
        }
    }
    Ok(())
}

fn validate<'a>(attributes: &'a Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    async move {
        let Some(object) = attributes.object.as_deref() else { return Ok(()) };
        let Some(meter) = Meter::of(attributes.resource.descriptor) else { return Ok(()) };
        let configuration = &attributes.app.admission.settings.resource_quota;
        let namespace = &attributes.info.namespace;
        let present = attributes.app.registry.list_settled("", "resourcequotas", namespace).await?;
        if present.is_empty() && configuration.is_empty() {
            return Ok(());
        }
        let request = Request {
            meter: &meter,
            new: object,
            old: attributes.old,
            only_counts: attributes.info.subresource == "status",
        };
        configuration.check_cover(&request, &present).map_err(|why| attributes.forbidden(why))?;
        for quota in &present {
            if let Err(status) = charge(attributes, &request, quota.name()).await {
                attributes.charges.refund(attributes.app).await;
                return Err(status);
            }
        }
        Ok(())
    }
    .boxed()
}

/// Charges one quota, as often as somebody else is faster.
async fn charge(attributes: &Attributes<'_>, request: &Request<'_>, quota: &str) -> Result<(), Status> {
    let namespace = attributes.info.namespace.as_str();
    let Some(store) = quotas(attributes.app) else { return Ok(()) };
    let mut cursor = Cursor::open(store, store.key(namespace, quota)).await?;
    while let Some(current) = cursor.current() {
        let charged = match request.charge(&current.object()) {
            // The refusal may rest on an old state.
            Err(_) if cursor.may_be_stale() => {
                cursor.refresh().await?;
                continue;
            }
            charged => charged.map_err(|why| attributes.forbidden(why))?,
        };
        let Some((next, amounts)) = charged else {
            // So may be that nothing is limited yet: the controller was about to say what.
            if cursor.may_be_stale()
                && current.object().at(&["status", "hard"]) != current.object().at(&["spec", "hard"])
            {
                cursor.refresh().await?;
                continue;
            }
            return Ok(());
        };
        if attributes.dry_run {
            return Ok(());
        }
        if cursor.write(&next, None).await?.is_some() {
            attributes.charges.add(Charge { namespace: namespace.to_owned(), quota: quota.to_owned(), amounts });
            return Ok(());
        }
    }
    Ok(())
}
