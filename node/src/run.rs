//! `hive run`: a model of the store, or a file, continues a prompt.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hive_api::{
    Cancel, EngineError, ErrorKind, Events, GenerateRequest, HiveError, Piece, Result, RunEvent,
    RunRequest,
};
use hive_inference as inference;
use hive_protocol::{BlockId, TreePath};
use hive_store::{self as store, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::errors;
use crate::library;
use crate::local::{Local, blocking};

/// Pieces of text that may wait for their reader; then the model waits.
const EVENTS: usize = 64;

/// A file that may be loaded: checked if it is of the store, the user's own otherwise.
struct Weights {
    id: Option<BlockId>,
    path: PathBuf,
    file: File,
}

impl Local {
    /// Runs a model on a thread of its own; dropping the stream stops it.
    pub(crate) async fn run_model(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        let store = self.store.clone();
        let model = request.model.clone();
        let weights = blocking(move || find(&store, &model)).await?;
        let (events, stream) = mpsc::channel(EVENTS);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let cancel = Cancel::default();
            let mut task = {
                let (events, cancel) = (events.clone(), cancel.clone());
                tokio::task::spawn_blocking(move || run(weights, &request, &cancel, &events))
            };
            let ended = tokio::select! {
                ended = &mut task => ended,
                () = async { tokio::select! { () = stop.cancelled() => {}, () = events.closed() => {} } } => {
                    cancel.cancel();
                    task.await
                }
            };
            if let Err(error) = ended {
                let _ = events.send(Err(errors::panicked(&error))).await;
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

/// Finds what to load: a file by its path, or a whole model of the store.
fn find(store: &Store, model: &str) -> Result<Weights> {
    let path = Path::new(model);
    let is_path = model.contains(std::path::MAIN_SEPARATOR) || path.is_file();
    let known = store.resolve(model);
    if is_path && known.is_err() {
        let file = File::open(path).map_err(|error| {
            HiveError::caused(ErrorKind::Usage, format!("cannot open `{model}`"), &error)
        })?;
        return Ok(Weights { id: None, path: path.to_owned(), file });
    }
    let id = library::resolve(store, model)?;
    let path = weights_path(store, &id, model)?;
    let open = store.open_verified(&id, path.as_ref()).map_err(|error| match error {
        store::OpenModelError::Changed { .. } | store::OpenModelError::Damaged { .. } => {
            HiveError::caused(
                ErrorKind::Verification,
                format!("`{model}` is not what it was"),
                &error,
            )
            .hint(
                "`hive verify` names what is damaged; `hive add` the file again if you changed it",
            )
        }
        store::OpenModelError::NotWhole { .. } => {
            HiveError::caused(ErrorKind::Failed, format!("`{model}` is not all here"), &error)
                .hint(format!("`hive fetch {model}` gets the rest"))
        }
        error => errors::store(format!("cannot open `{model}`"), &error),
    })?;
    Ok(Weights { id: Some(id), path: open.path, file: open.file })
}

/// Which file of a tree holds the weights; `None` for a model that is one file.
fn weights_path(store: &Store, id: &BlockId, model: &str) -> Result<Option<TreePath>> {
    let files = store.files(id).map_err(|error| errors::store("cannot read the index", &error))?;
    if files.len() <= 1 {
        return Ok(files.into_iter().next().map(|file| file.path));
    }
    let mut weights =
        files.into_iter().filter(|file| file.path.as_str().to_lowercase().ends_with(".gguf"));
    match (weights.next(), weights.next()) {
        (Some(only), None) => Ok(Some(only.path)),
        (None, _) => {
            Err(HiveError::new(ErrorKind::Failed, format!("`{model}` has no GGUF file to run"))
                .hint("hive runs GGUF files; others can be added, fetched and shared"))
        }
        (Some(first), Some(second)) => {
            let message =
                format!("`{model}` has several GGUF files: {}, {}, …", first.path, second.path);
            Err(HiveError::new(ErrorKind::Usage, message)
                .hint("give the id of the file; `hive show` lists them"))
        }
    }
}

fn run(
    weights: Weights,
    request: &RunRequest,
    cancel: &Cancel,
    events: &mpsc::Sender<Result<RunEvent>>,
) {
    let send = |event| events.blocking_send(event).is_ok();
    let name = weights.path.display().to_string();
    let started = Instant::now();
    let options = inference::Options { device: request.device };
    let mut engine = match inference::load(weights.file, &options) {
        Ok(engine) => engine,
        Err(error) => {
            send(Err(engine_error(&name, &error)));
            return;
        }
    };
    let cid = weights.id.map(|id| id.to_string());
    if !send(Ok(RunEvent::Loaded { cid, seconds: started.elapsed().as_secs_f64() })) {
        return;
    }
    let request = GenerateRequest {
        prompt: request.prompt.clone(),
        max_tokens: request.max_tokens,
        sampling: request.sampling,
        stop: request.stop.clone(),
    };
    let mut sink = |piece: Piece| {
        if send(Ok(RunEvent::Text { text: piece.text })) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let ended = engine.generate(&request, cancel, &mut sink);
    send(ended.map(RunEvent::Done).map_err(|error| engine_error(&name, &error)));
}

fn engine_error(name: &str, error: &EngineError) -> HiveError {
    let kind = match error {
        EngineError::PromptTooLong { .. } => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    let message = match error {
        EngineError::PromptTooLong { .. } | EngineError::Compute { .. } => {
            format!("cannot run `{name}`")
        }
        _ => format!("cannot load `{name}`"),
    };
    HiveError::caused(kind, message, error)
}
