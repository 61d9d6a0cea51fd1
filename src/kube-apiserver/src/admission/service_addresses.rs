//! An update of a Service that leaves out its addresses and node ports keeps them.

use apimachinery::Status;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin};
use crate::service_plumbing::carry_over;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ServiceAddresses",
    by_default: true,
    handles: |attributes| attributes.operation == Operation::Update && attributes.is("", "services"),
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(attributes: &'a mut Attributes<'_>) -> BoxFuture<'a, Result<(), Status>> {
    if let (Some(new), Some(old)) = (attributes.object.as_deref_mut(), attributes.old) {
        carry_over(new, old);
    }
    futures::future::ready(Ok(())).boxed()
}
