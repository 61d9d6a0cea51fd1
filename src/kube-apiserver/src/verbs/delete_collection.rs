//! Deletes all objects a selector matches.

use apimachinery::Status;

use super::delete::delete;
use super::list;
use super::options::DeleteOptions;
use super::page::Page;
use super::selection::Selection;
use super::{Call, body};
use crate::present;
use crate::reply::Response;

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    let form = call.accept()?;
    let options = DeleteOptions::parse(body::delete_options(call)?.as_ref(), &call.info.query)?;
    let selection = Selection::parse(call.resource, &call.info.query)?;
    let page = Page::parse(&call.info.query)?;
    let listed = list::read(call, &page, &selection).await?;
    let items = &listed.items;
    for item in items {
        match delete(call, &item.name, &options).await {
            // Somebody else deleted it meanwhile: that is what was wanted.
            Err(status) if status.code() == 404 => {}
            outcome => {
                outcome?;
            }
        }
    }
    let meta = present::meta(&listed.revision.to_string(), None, None);
    Ok(present::list(call.resource, form, &meta, items, &call.info.query))
}
