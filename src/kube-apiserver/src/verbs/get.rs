//! Reads one object.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::Status;
use component_base::serving;
use http::StatusCode;

use super::Call;
use crate::error;
use crate::reply::Response;
use crate::stored::Stored;

/// How long a read waits for the cache to reach a resourceVersion.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(call: &Call<'_>) -> Result<Response, Status> {
    // A refused form must not cost a read.
    call.accept()?;
    let found = read(call).await?.ok_or_else(|| call.not_found())?;
    call.written(StatusCode::OK, &found)
}

async fn read(call: &Call<'_>) -> Result<Option<Arc<Stored>>, Status> {
    let store = call.store()?;
    let key = call.key()?;
    let cacher = &store.cacher;
    match call.info.query.get("resourceVersion") {
        None | Some("") => {
            // The answer is at hand then.
            let latest = serving::stay_for(cacher.latest(&key)).await;
            latest.map(|(found, _)| found).map_err(|error| error::from_latest(&error))
        }
        Some("0") => {
            cacher.ready().await;
            cacher.get(&key).map_err(|error| error::from_read(&error))
        }
        Some(version) => {
            let revision = super::page::revision(version)?;
            let snapshot = cacher.wait_for(revision, PATIENCE).await.map_err(|error| error::from_wait(&error))?;
            snapshot.get(&key).map_err(|error| error::from_read(&error))
        }
    }
}
