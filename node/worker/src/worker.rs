//! The parent's handle of a model that is loaded.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use hive_api::{Embedded, EngineOptions, Failure, FailureKind, GenerateRequest, ModelInfo, Prompt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::answer::{Answer, Mailbox};
use crate::backend::{Input, Limits, Program};
use crate::driver::{Shared, To, drive, missing, write};
use crate::ending::Ending;
use crate::feed::Feed;
use crate::frame::FrameError;
use crate::limits::{EMBED_LEN, EMBED_TEXTS, ORDERS};
use crate::message::{Job, Loaded, Order, Report, VERSION};
use crate::process::{self, Life, Reader, Started};

/// The right to have one text worked at. It is given back when the model has let go of the text,
/// which may be a moment after whoever asked has.
pub type Place = Arc<OwnedSemaphorePermit>;

/// A loaded model, in a process of its own or on a thread. Dropping it ends that.
pub struct Worker {
    shared: Arc<Shared>,
    orders: mpsc::Sender<(hive_api::Ticket, Order)>,
    tickets: AtomicU64,
    places: Arc<Semaphore>,
    n_places: usize,
    loaded: Loaded,
    pid: Option<u32>,
}

impl Worker {
    /// Starts a program and has it load a model. Dropping the future ends the program.
    ///
    /// # Errors
    ///
    /// The program cannot be started, the model cannot be loaded, the program crashed
    /// ([`FailureKind::Crashed`]), or it took longer than it may.
    pub async fn load(
        program: &Program,
        inputs: Vec<Input>,
        options: EngineOptions,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let job = Job::Serve(options);
        let mut feed = Feed::new(&inputs);
        let started = process::start(program, job, inputs, None, limits.memory).await?;
        let Started { mut reader, writer, mut life } = started;
        let shared = Arc::new(Shared::new());
        let (orders, orders_out) = mpsc::channel(ORDERS);
        let needs = feed.clone();
        let news = if writer.shares_gates() { Feed::default() } else { feed.clone() };
        let mut writing = write(Arc::clone(&shared), orders_out, writer, news).boxed();
        let loaded = tokio::select! {
            // A file that does not come is why a load fails that fails for want of it.
            biased;
            reason = feed.failed() => {
                life.kill().await;
                return Err(missing(&reason).failure());
            }
            loaded = first(&mut reader, &mut life, &needs) => loaded?,
            () = tokio::time::sleep(limits.load) => {
                let seconds = limits.load.as_secs_f64();
                let message = format!("the model was not loaded within {seconds} seconds");
                life.kill().await;
                return Err(Failure { kind: FailureKind::Crashed, message });
            }
            never = &mut writing => match never {},
        };
        let pid = life.pid();
        tokio::spawn(drive(Arc::clone(&shared), (reader, writing, life), feed, limits));
        // A model that only embeds has no place for texts and still takes one at a time.
        let n_places = (loaded.places as usize).clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(n_places));
        Ok(Self { shared, orders, tickets: AtomicU64::new(1), places, n_places, loaded, pid })
    }

    /// What is loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.loaded.info
    }

    /// Seconds that loading took.
    pub fn load_seconds(&self) -> f64 {
        self.loaded.seconds
    }

    /// What holds the process back, and what this system lacks of it.
    pub fn sandbox(&self) -> &[String] {
        &self.loaded.sandbox
    }

    /// The process; none for a thread.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Bytes of memory that the process took when it was last looked at; 0 before that, and for a
    /// thread.
    pub fn memory(&self) -> u64 {
        self.shared.memory.load(Ordering::Relaxed)
    }

    /// Texts that it works at together at most.
    pub fn n_places(&self) -> usize {
        self.n_places
    }

    /// Requests that it works at.
    pub fn n_open(&self) -> usize {
        self.shared.n_open()
    }

    /// Takes a place that is free now.
    pub fn try_place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Arc::new)
    }

    /// Waits for a place; first come, first served. Cancel safe: dropping the future gives up the
    /// turn.
    pub async fn place(&self) -> Result<Place, Failure> {
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::select! {
            place = place => place.map(Arc::new).map_err(|_| self.shared.failure()),
            ending = self.ended() => Err(ending.failure()),
        }
    }

    /// Has a text continued. Whatever happens, the answer has a last output.
    ///
    /// # Errors
    ///
    /// The model has ended.
    pub async fn begin(&self, place: Place, request: GenerateRequest) -> Result<Answer, Failure> {
        let order = self.orders.reserve().await.map_err(|_| self.shared.failure())?;
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::default());
        self.shared.expect(ticket, To::Reader(Arc::clone(&mailbox)), place)?;
        order.send((ticket, Order::Begin(Box::new(request))));
        Ok(Answer { mailbox, shared: Arc::clone(&self.shared), ticket })
    }

    /// Makes vectors of texts, a few at a time, so that texts of others come in between.
    ///
    /// # Errors
    ///
    /// The model does not embed, a text cannot be read, or the model has ended.
    pub async fn embed(&self, place: Place, texts: Vec<Prompt>) -> Result<Embedded, Failure> {
        let mut all = Embedded { vectors: Vec::with_capacity(texts.len()), tokens: 0 };
        let mut texts = texts.into_iter().peekable();
        loop {
            let some = stretch(&mut texts);
            if some.is_empty() {
                return Ok(all);
            }
            let n_texts = some.len();
            let order = self.orders.reserve().await.map_err(|_| self.shared.failure())?;
            let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
            let (reply, vectors) = oneshot::channel();
            self.shared.expect(ticket, To::Vectors(reply), Arc::clone(&place))?;
            order.send((ticket, Order::Embed(some)));
            let embedded = vectors.await.unwrap_or_else(|_| Err(self.shared.failure()))?;
            if embedded.vectors.len() != n_texts {
                let message = format!("{} vectors for {n_texts} texts", embedded.vectors.len());
                return Err(Failure { kind: FailureKind::Compute, message });
            }
            all.vectors.extend(embedded.vectors);
            all.tokens = all.tokens.saturating_add(embedded.tokens);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// Ends it; what it works at fails. [`ended`](Self::ended) says when it is gone.
    pub fn kill(&self) {
        self.shared.stop.cancel();
    }

    /// Waits until it is gone, reaped and all, and says how it went. Cancel safe.
    pub async fn ended(&self) -> Ending {
        let mut ended = self.shared.ended.subscribe();
        let seen = ended.wait_for(Option::is_some).await;
        // The sender is in `shared`, which is held here.
        seen.ok().and_then(|ending| ending.clone()).unwrap_or_else(Ending::asked)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("pid", &self.pid).field("places", &self.n_places).finish()
    }
}

/// The next texts that are embedded with one message.
fn stretch(texts: &mut Peekable<impl Iterator<Item = Prompt>>) -> Vec<Prompt> {
    let (mut some, mut bytes) = (Vec::new(), 0_usize);
    while some.len() < EMBED_TEXTS {
        let Some(text) = texts.next_if(|text| some.is_empty() || bytes + len(text) <= EMBED_LEN)
        else {
            break;
        };
        bytes += len(&text);
        some.push(text);
    }
    some
}

/// About how many bytes of text a prompt is; a token stands for about four.
fn len(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text(text) => text.len(),
        Prompt::Tokens(tokens) => 4 * tokens.len(),
        Prompt::Chat(chat) => chat.messages.iter().map(|message| message.content.len()).sum(),
    }
}

/// Waits for the first report of a child, which says whether it could load.
async fn first(reader: &mut Reader, life: &mut Life, feed: &Feed) -> Result<Loaded, Failure> {
    let crashed = |message: String| Failure { kind: FailureKind::Crashed, message };
    let mut report = reader.next().await;
    while let Ok(Some((_, Report::Need { part, need }))) = &report {
        if let Err(what) = feed.need(*part, need) {
            life.kill().await;
            return Err(crashed(format!("the model's process said what makes no sense ({what})")));
        }
        report = reader.next().await;
    }
    match report {
        Ok(Some((_, Report::Loaded(loaded)))) if loaded.version == VERSION => Ok(*loaded),
        Ok(Some((_, Report::Loaded(loaded)))) => {
            life.kill().await;
            let theirs = loaded.version;
            let message = format!("the model's process speaks version {theirs}, this is {VERSION}");
            // Nothing that the model did.
            Err(Failure { kind: FailureKind::Io, message })
        }
        Ok(Some((_, Report::Failed(failure)))) => {
            life.exit().await;
            Err(failure)
        }
        Ok(Some(_)) => {
            life.kill().await;
            Err(crashed("the model's process said something before it was ready".to_owned()))
        }
        Ok(None) | Err(FrameError::Pipe(_)) => {
            let ending = Ending::exited(life.exit().await);
            Err(crashed(format!("{} while it loaded", ending.message)))
        }
        Err(error) => {
            life.kill().await;
            Err(crashed(format!("the model's process said what makes no sense ({error})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(lens: &[usize]) -> Vec<usize> {
        let texts = lens.iter().map(|len| Prompt::Text("x".repeat(*len)));
        let mut texts = texts.peekable();
        let lens = std::iter::from_fn(|| Some(stretch(&mut texts).len()).filter(|n| *n > 0));
        lens.collect()
    }

    #[test]
    fn texts_are_embedded_a_few_at_a_time_and_long_ones_alone() {
        assert_eq!(stretches(&[]), Vec::<usize>::new());
        assert_eq!(stretches(&[0; EMBED_TEXTS + 1]), [EMBED_TEXTS, 1]);
        assert_eq!(stretches(&[EMBED_LEN / 2, EMBED_LEN / 2, 1]), [2, 1]);
        assert_eq!(stretches(&[1, 2 * EMBED_LEN, 2 * EMBED_LEN, 1]), [1, 1, 1, 1]);
    }
}
