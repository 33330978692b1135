//! `hive run` and `embed`: a model of the store, or a file, continues a prompt or makes vectors.

use std::time::Instant;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use hive_api::{
    Device, EmbedRequest, Embeddings, ErrorKind, Events, FetchEvent, FetchRequest, Finish,
    GenerateRequest, Generated, HiveError, LoadedModel, Output, Result, RunEvent, RunRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::engines::fit::{self, Measured};
use crate::engines::{self, Entering, Lease};
use crate::errors;
use crate::fetch::Arrival;
use crate::local::{Local, blocking, parse_id, send_last};

/// Events that may wait for their reader; then the answer waits in the worker's bounded mailbox.
const EVENTS: usize = 64;
/// Tokens that say how fast a model is.
const ENOUGH: u32 = 8;

/// Where the events of a request go.
type Teller = mpsc::Sender<Result<RunEvent>>;

impl Local {
    /// Continues a prompt; dropping the stream stops it. Too many requests are refused before there
    /// is a stream.
    pub(crate) async fn run_model(&self, request: RunRequest) -> Result<Events<RunEvent>> {
        let asked = Instant::now();
        let (store, model) = (self.store.clone(), request.model.clone());
        let fetch = request.fetch && !blocking(move || engines::is_here(&store, &model)).await?;
        if fetch {
            let wanted = FetchRequest { model: request.model.clone(), ..FetchRequest::default() };
            let follow = self.fetch_model(wanted).await?;
            return Ok(self.tell(move |local, events| {
                local.answer_while_it_arrives(follow, request, asked, events).boxed()
            }));
        }
        let entering = self.enter(&request).await?;
        Ok(self.tell(move |local, events| local.answer(entering, request, asked, events).boxed()))
    }

    async fn enter(&self, request: &RunRequest) -> Result<Entering> {
        let (store, model) = (self.store.clone(), request.model.clone());
        let source = blocking(move || engines::find(&store, &model)).await?;
        self.engines.enter(&source, request.device, request.keep_alive)
    }

    /// Does something that tells events, for as long as somebody listens.
    fn tell<W>(&self, work: W) -> Events<RunEvent>
    where
        W: for<'a> FnOnce(&'a Self, &'a Teller) -> BoxFuture<'a, Result<()>> + Send + 'static,
    {
        self.engines.with_figures(|figures| figures.requests += 1);
        let (events, stream) = mpsc::channel(EVENTS);
        let local = self.clone();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                ended = work(&local, &events) => ended,
                () = local.stop.cancelled() => Err(errors::stopping()),
                // Dropping the answer on the way out cancels it.
                () = events.closed() => {
                    local.engines.with_figures(|figures| figures.cancelled += 1);
                    return;
                }
            };
            if let Err(error) = ended {
                local.engines.with_figures(|figures| figures.failed += 1);
                send_last(&events, Err(error), &local.stop).await;
            }
        });
        Box::pin(ReceiverStream::new(stream))
    }

    /// Follows a fetch and answers as soon as what has come is enough.
    async fn answer_while_it_arrives(
        &self,
        mut follow: Events<FetchEvent>,
        request: RunRequest,
        asked: Instant,
        events: &Teller,
    ) -> Result<()> {
        let source = loop {
            let event = follow.next().await.unwrap_or_else(|| Err(errors::stopping()))?;
            let told = event.clone();
            show(event, events).await;
            match told {
                FetchEvent::Manifest { cid, .. } => {
                    if let Some(source) = self.find_arriving(&cid).await? {
                        break source;
                    }
                }
                FetchEvent::Done { cid, .. } => {
                    let request = RunRequest { model: cid, ..request };
                    let entering = self.enter(&request).await?;
                    return self.answer(entering, request, asked, events).await;
                }
                _ => {}
            }
        };
        let entering = self.engines.enter(&source, request.device, request.keep_alive)?;
        let mut answer = std::pin::pin!(self.answer(entering, request, asked, events));
        let mut is_over = false;
        let ended = loop {
            tokio::select! {
                ended = &mut answer => break ended,
                event = follow.next(), if !is_over => match event {
                    Some(event) => {
                        let event = event?;
                        is_over = matches!(event, FetchEvent::Done { .. });
                        show(event, events).await;
                    }
                    None => is_over = true,
                },
            }
        };
        if ended.is_err() {
            // If the fetch ended the model, then why the fetch ended is the news.
            while let Some(Some(event)) = follow.next().now_or_never() {
                event?;
            }
        } else {
            // An answer can be complete before the model is: the rest still comes.
            self.tasks.spawn(async move { while follow.next().await.is_some() {} });
        }
        ended
    }

    /// What can be loaded of a model whose fetch has just begun.
    async fn find_arriving(&self, cid: &str) -> Result<Option<engines::Source>> {
        let id = parse_id(cid)?;
        let Some(running) = self.fetches.running(&id) else { return Ok(None) };
        let (store, tasks) = (self.store.clone(), self.tasks.clone());
        blocking(move || {
            engines::find_arriving(&store, id, |file| Arrival::new(running, file, tasks))
        })
        .await
    }

    /// Waits for the model and a place, and tells what becomes of the prompt.
    async fn answer(
        &self,
        entering: Entering,
        request: RunRequest,
        asked: Instant,
        events: &Teller,
    ) -> Result<()> {
        // A reader who left is noticed beside this, by the end of the channel.
        let send = async |event| drop(events.send(Ok(event)).await);
        let queued = async |position| send(RunEvent::Queued { position }).await;
        let mut lease = entering.wait(queued).await?;
        let model = lease.model();
        send(RunEvent::Loaded {
            cid: model.cid.clone(),
            seconds: lease.load_seconds,
            info: model.worker.info().clone(),
        })
        .await;
        let request = GenerateRequest {
            prompt: request.prompt,
            max_tokens: request.max_tokens,
            sampling: request.sampling,
            stop: request.stop,
            logprobs: request.logprobs,
            format: request.format,
        };
        let place = lease.take_place()?;
        let begun = lease.model().worker.begin(place, request).await;
        let mut answer = begun.map_err(|failure| lease.error(&failure))?;
        let mut first = true;
        while let Some(output) = answer.next().await {
            if std::mem::take(&mut first) {
                let seconds = asked.elapsed().as_secs_f64();
                self.engines.with_figures(|figures| figures.first_text_seconds.observe(seconds));
            }
            match output {
                Output::Piece(piece) => {
                    send(RunEvent::Text { text: piece.text, tokens: piece.tokens }).await;
                }
                Output::ToolCall(call) => send(RunEvent::ToolCall(call)).await,
                Output::Done(done) => {
                    self.note(&lease, &done).await;
                    // Only a reader that did not read is cancelled here; one that left is gone.
                    if done.finish == Finish::Cancelled {
                        let message = "the answer was cut off: nobody read it";
                        return Err(HiveError::new(ErrorKind::Interrupted, message)
                            .hint("read the events as they come"));
                    }
                    send(RunEvent::Done(done)).await;
                    return Ok(());
                }
                Output::Failed(failure) => return Err(lease.error(&failure)),
            }
        }
        Err(errors::stopping())
    }

    /// Takes note of what an answer cost.
    async fn note(&self, lease: &Lease, done: &Generated) {
        let rate = f64::from(done.generated_tokens) / done.generate_seconds;
        let tells = done.generated_tokens >= ENOUGH && rate.is_finite();
        self.engines.with_figures(|figures| {
            figures.prompt_tokens += u64::from(done.prompt_tokens);
            figures.cached_tokens += u64::from(done.cached_tokens);
            figures.generated_tokens += u64::from(done.generated_tokens);
            if tells {
                figures.tokens_per_second.observe(rate);
            }
        });
        lease.answered().await;
        let model = lease.model();
        // What is measured once per load is enough, and does not write to the disk at each answer.
        if tells
            && model.is_first_measure()
            && let Some(id) = model.cid.as_deref().and_then(|cid| cid.parse().ok())
        {
            let worker = &model.worker;
            let measured = Measured {
                load_seconds: worker.load_seconds(),
                tokens_per_second: rate,
                memory: worker.memory(),
            };
            let store = self.store.clone();
            let kept = blocking(move || {
                fit::record(&store, &id, measured);
                Ok(())
            });
            if let Err(error) = kept.await {
                tracing::warn!(%error, "cannot keep what was measured");
            }
        }
    }

    /// Makes vectors of texts. Cancel safe: dropping the future gives up what is not computed yet.
    pub(crate) async fn embed_texts(&self, request: EmbedRequest) -> Result<Embeddings> {
        let (store, model) = (self.store.clone(), request.model.clone());
        let source = blocking(move || engines::find(&store, &model)).await?;
        let entering = self.engines.enter(&source, Device::Cpu, request.keep_alive)?;
        self.engines.with_figures(|figures| figures.embeds += 1);
        let embedded = tokio::select! {
            embedded = self.vectors(entering, request) => embedded,
            () = self.stop.cancelled() => Err(errors::stopping()),
        };
        if embedded.is_err() {
            self.engines.with_figures(|figures| figures.failed += 1);
        }
        embedded
    }

    async fn vectors(&self, entering: Entering, request: EmbedRequest) -> Result<Embeddings> {
        let mut lease = entering.wait(async |_| ()).await?;
        let width = lease.model().worker.info().width;
        if let Some(n) = request.dimensions.filter(|&n| n == 0 || width < n) {
            let message = format!("{n} dimensions of a vector that has {width}");
            return Err(HiveError::new(ErrorKind::Usage, message)
                .hint(format!("ask for 1 to {width}, or leave it out")));
        }
        let place = lease.take_place()?;
        let embedded = lease.model().worker.embed(place, request.input).await;
        let embedded = embedded.map_err(|failure| lease.error(&failure))?;
        self.engines.with_figures(|figures| figures.prompt_tokens += u64::from(embedded.tokens));
        lease.answered().await;
        let mut vectors = embedded.vectors;
        if let Some(n) = request.dimensions {
            for vector in &mut vectors {
                shorten(vector, n as usize);
            }
        }
        Ok(Embeddings { cid: lease.model().cid.clone(), vectors, tokens: embedded.tokens })
    }

    /// The models that are loaded.
    pub(crate) fn loaded_models(&self) -> Vec<LoadedModel> {
        self.engines.loaded()
    }

    /// Unloads a model by its id, its name or its path; has one that crashed tried again.
    pub(crate) async fn unload_model(&self, text: &str) -> Result<()> {
        let (store, sought) = (self.store.clone(), text.to_owned());
        let id = blocking(move || Ok(store.resolve(&sought).ok())).await?;
        let id = id.map(|id| id.to_string());
        if self.engines.unload(text, id.as_deref()).await? {
            Ok(())
        } else {
            Err(HiveError::new(ErrorKind::NotFound, format!("`{text}` is not loaded"))
                .hint("`hive ps` lists the models that are"))
        }
    }
}

/// Tells what happens in a fetch. That it is a little further need not be heard each time.
async fn show(progress: FetchEvent, events: &Teller) {
    let is_dispensable = matches!(progress, FetchEvent::Progress { .. });
    let event = Ok(RunEvent::Fetching { progress });
    if is_dispensable {
        let _ = events.try_send(event);
    } else {
        // A reader who left is noticed by the end of the channel.
        let _ = events.send(event).await;
    }
}

/// Keeps the first numbers of a vector and brings it back to length 1.
fn shorten(vector: &mut Vec<f32>, n: usize) {
    vector.truncate(n);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    // Nothing points where all that is left is zero.
    if length > 0.0 {
        for x in vector {
            *x /= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn a_shortened_vector_has_length_one_again() {
        let mut vector = vec![3.0, 4.0, 12.0];
        shorten(&mut vector, 2);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = vec![0.0, 1.0];
        shorten(&mut nothing, 1);
        assert_eq!(nothing, [0.0]);
    }
}
