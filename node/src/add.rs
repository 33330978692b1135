//! `hive add`: a file or a directory becomes a model with an id.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use hive_api::{AddEvent, AddRequest, Added, ErrorKind, Events, HiveError, Result, Visibility};
use hive_protocol::Name;
use hive_store as store;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::describe;
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
        let (added, notes) = blocking(move || {
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
            let notes = notes(&store, &added);
            Ok((added, notes))
        })
        .await?;
        self.offers_changed();
        Ok(Added {
            cid: added.id.to_string(),
            name: added.name.to_string(),
            size: added.size,
            chunks: added.n_chunks,
            storage: library::storage(added.storage),
            notes,
        })
    }
}

/// What whoever added it may not have meant: hidden files that are part of it, what is not, and files
/// that say they are models and cannot be run.
fn notes(store: &store::Store, added: &store::Added) -> Vec<String> {
    // It is added, whatever can be said of it.
    let files = store.files(&added.id).unwrap_or_default();
    let mut notes = Vec::new();
    let mut list = |paths: Vec<String>, what: &str| match paths.as_slice() {
        [] => {}
        [path] => notes.push(format!("`{path}` {what}")),
        [path, rest @ ..] => notes.push(format!("`{path}` and {} more {what}", rest.len())),
    };
    list(added.skipped.iter().map(|path| path.display().to_string()).collect(), "left out");
    let is_hidden = |path: &&str| {
        let of_git = path.ends_with(".gitattributes") || path.ends_with(".gitignore");
        !of_git && path.split('/').any(|part| part.starts_with('.'))
    };
    let paths = files.iter().map(|file| file.path.as_str());
    let hidden = paths.filter(is_hidden).map(str::to_owned).collect();
    list(hidden, "taken in, though hidden: whoever gets the model gets that too");
    for file in &files {
        let fault =
            File::open(&file.on_disk).and_then(|mut open| describe::fault(&mut open, file.size));
        if let Ok(Some(fault)) = fault {
            notes.push(format!("`{}` cannot be run: {fault}", file.path));
        }
    }
    notes
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
