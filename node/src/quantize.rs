//! `hive quantize`: a smaller model of one, written by a worker and added to the store.

use std::fs::File;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use hive_api::{
    AddEvent, AddRequest, Added, ErrorKind, Events, HiveError, Quantization, QuantizeEvent,
    QuantizeRequest, Result,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::add::parse_name;
use crate::local::{Local, blocking, send_last};
use crate::{engines, errors};

/// Progress that may wait for its reader; more is dropped, since the next says more.
const EVENTS: usize = 16;

impl Local {
    /// Makes a smaller model; dropping the stream stops it and leaves nothing behind.
    pub(crate) fn quantize_model(&self, request: QuantizeRequest) -> Result<Events<QuantizeEvent>> {
        let name = match &request.name {
            Some(name) => name.clone(),
            None => format!("{}-{}", base_name(&request.model), suffix(request.to)),
        };
        parse_name(&name)?;
        let (events, stream) = mpsc::channel(EVENTS);
        let local = self.clone();
        self.tasks.spawn(async move {
            let last = tokio::select! {
                last = local.quantize_now(&request, &name, &events) => last.map(QuantizeEvent::Done),
                () = local.stop.cancelled() => Err(errors::stopping()),
                () = events.closed() => return,
            };
            send_last(&events, last, &local.stop).await;
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    async fn quantize_now(
        &self,
        request: &QuantizeRequest,
        name: &str,
        events: &mpsc::Sender<Result<QuantizeEvent>>,
    ) -> Result<Added> {
        let (store, model) = (self.store.clone(), request.model.clone());
        let file_name = format!("{}.gguf", base_name(name));
        let (inputs, place, file) = blocking(move || {
            let inputs = engines::find(&store, &model)?.open(&store)?;
            let place = Place::new(store.home())?;
            let file = File::create_new(place.0.join(&file_name))
                .map_err(|error| failed(&place.0, &error))?;
            Ok((inputs, (place, file_name), file))
        })
        .await?;
        let (place, file_name) = place;
        let at = place.0.join(file_name);
        let mut progress = |done, total| {
            let _ = events.try_send(Ok(QuantizeEvent::Progress { done, total }));
        };
        let (program, limits) = (self.engines.program(), self.engines.limits());
        let result = (file, at.clone());
        hive_worker::quantize(program, inputs, request.to, result, limits, &mut progress)
            .await
            .map_err(|failure| {
                let message = format!("cannot quantise `{}`", request.model);
                HiveError::caused(ErrorKind::Failed, message, &failure)
            })?;
        let add = AddRequest {
            path: at,
            name: Some(name.to_owned()),
            visibility: None,
            link: false,
            license: None,
        };
        let mut added = self.add_path(add);
        while let Some(event) = added.next().await {
            if let AddEvent::Done(added) = event? {
                return Ok(added);
            }
        }
        Err(errors::stopping())
    }
}

/// A directory of the store's own that is gone when this is, or when the store is opened next.
struct Place(PathBuf);

impl Place {
    fn new(home: &Path) -> Result<Self> {
        let name = format!("quantize-{:016x}", rand::random::<u64>());
        let path = home.join("models").join(".partial").join(name);
        std::fs::create_dir(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove what is not needed any more");
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> HiveError {
    errors::store(format!("cannot write to `{}`", path.display()), error)
}

fn suffix(to: Quantization) -> &'static str {
    match to {
        Quantization::Q8_0 => "q8_0",
        Quantization::Q4_0 => "q4_0",
        Quantization::Q4K => "q4_k",
    }
}

/// The last part of a name or path, without its ending.
fn base_name(model: &str) -> String {
    let last = model.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("model");
    let stem = last.strip_suffix(".gguf").unwrap_or(last);
    let fits =
        |char: char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' };
    let name: String = stem.chars().map(fits).take(100).collect();
    let name = name.trim_start_matches(|char: char| !char.is_ascii_alphanumeric());
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_what_the_model_is_called() {
        for (model, name) in [
            ("hf/owner/Model-7B.gguf", "Model-7B"),
            ("gemma3:270m", "gemma3-270m"),
            ("/home/me/…/", "model"),
            ("C:\\models\\x.gguf", "x"),
        ] {
            assert_eq!(base_name(model), name);
            assert!(parse_name(&format!("{name}-q8_0")).is_ok());
        }
    }
}
