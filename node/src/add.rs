//! `hive add`: a file or a directory becomes a model with an id.

use std::ops::ControlFlow;
use std::path::Path;

use hive_api::{AddEvent, AddRequest, Added, ErrorKind, Events, HiveError, Result, Visibility};
use hive_protocol::Name;
use hive_store as store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::errors;
use crate::library::{self, license_key};
use crate::local::{Local, blocking, send_last};

/// Progress that may wait for its reader; more is dropped, since the next says more.
const EVENTS: usize = 16;

impl Local {
    /// Adds a path; dropping the stream stops it.
    pub(crate) fn add_path(&self, request: AddRequest) -> Events<AddEvent> {
        let (events, stream) = mpsc::channel(EVENTS);
        let local = self.clone();
        self.tasks.spawn(async move {
            let last = local.add_now(request, events.clone()).await.map(AddEvent::Done);
            send_last(&events, last, &local.stop).await;
        });
        Box::pin(ReceiverStream::new(stream))
    }

    async fn add_now(
        &self,
        request: AddRequest,
        events: mpsc::Sender<Result<AddEvent>>,
    ) -> Result<Added> {
        let name = request.name.as_deref().map(parse_name).transpose()?;
        // Without a word from the user or the configuration, what is here already stays as it is.
        let configured = Some(self.config.share).filter(|share| *share != Visibility::Local);
        let options = store::AddOptions {
            name,
            visibility: request.visibility.or(configured).map(library::visibility),
            link: request.link,
        };
        let (store, stop) = (self.store.clone(), self.stop.clone());
        let added = blocking(move || {
            let mut progress = |progress: store::Progress| {
                let event = AddEvent::Progress { bytes: progress.bytes, total: progress.total };
                let left =
                    matches!(events.try_send(Ok(event)), Err(mpsc::error::TrySendError::Closed(_)));
                if left || stop.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let added = store
                .add(&request.path, &options, &mut progress)
                .map_err(|error| add_error(&request.path, &error))?;
            if let Some(license) = &request.license {
                store
                    .set_meta(&license_key(&added.id), license.as_bytes())
                    .map_err(|error| errors::store("cannot keep the licence", &error))?;
            }
            Ok(added)
        })
        .await?;
        for skipped in &added.skipped {
            tracing::info!(path = %skipped.display(), "left out");
        }
        self.offers_changed();
        Ok(Added {
            cid: added.id.to_string(),
            name: added.name.to_string(),
            size: added.size,
            chunks: added.n_chunks,
            storage: library::storage(added.storage),
        })
    }
}

pub(crate) fn parse_name(text: &str) -> Result<Name> {
    text.parse().map_err(|error: hive_protocol::name::NameError| {
        HiveError::caused(ErrorKind::Usage, format!("`{text}` is no name"), &error)
    })
}

fn add_error(path: &Path, error: &store::AddError) -> HiveError {
    let message = format!("cannot add `{}`", path.display());
    match error {
        store::AddError::Stopped => HiveError::new(ErrorKind::Interrupted, "stopped"),
        store::AddError::NoRoom(_) => HiveError::caused(ErrorKind::NoSpace, message, error)
            .hint("free some space, raise the quota, or add it in place with `--link`"),
        error => errors::store(message, error),
    }
}
