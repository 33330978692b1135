//! The task that owns the other side: the only one that speaks with it, hears it end and reaps it.
//!
//! It writes orders, hands reports to whoever they are for, watches memory and silence, and at the
//! end, whatever the end was, tells everybody who still waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hive_api::{Embedded, Failure, FailureKind, Output, Ticket};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::answer::Mailbox;
use crate::backend::Limits;
use crate::ending::{Cause, Ending};
use crate::feed::Feed;
use crate::frame::FrameError;
use crate::limits::LOOK;
use crate::message::{Order, Report};
use crate::process::{Life, Reader, Writer};
use crate::worker::Place;

/// What the driver and those who ask share.
pub(crate) struct Shared {
    /// Ends the other side.
    pub(crate) stop: CancellationToken,
    /// Bytes of memory that the process took when it was last looked at; 0 for a thread.
    pub(crate) memory: AtomicU64,
    /// How it ended, once it has.
    pub(crate) ended: watch::Sender<Option<Ending>>,
    open: Mutex<Open>,
    /// Something is in `Open::cancels`.
    cancelled: Notify,
}

/// What is being worked at.
struct Open {
    slots: HashMap<Ticket, Slot>,
    /// Tickets to be cancelled at the other side, which has been told to begin them.
    cancels: Vec<Ticket>,
    /// When the other side last said something, or got work after having had none.
    last_word: Instant,
    ended: Option<Ending>,
}

pub(crate) struct Slot {
    to: To,
    begun: bool,
    cancelled: bool,
    /// Given back when the other side has let go of the text, not when its reader has.
    _place: Place,
}

/// Whom an answer is for.
pub(crate) enum To {
    Reader(Arc<Mailbox>),
    Vectors(oneshot::Sender<Result<Embedded, Failure>>),
}

impl To {
    /// Tells that nothing more comes.
    fn fail(self, failure: Failure) {
        match self {
            Self::Reader(mailbox) => {
                mailbox.put(Output::Failed(failure));
            }
            // Whoever asked may have left, which is his right.
            Self::Vectors(reply) => drop(reply.send(Err(failure))),
        }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        let open = Open {
            slots: HashMap::new(),
            cancels: Vec::new(),
            last_word: Instant::now(),
            ended: None,
        };
        Self {
            stop: CancellationToken::new(),
            memory: AtomicU64::new(0),
            ended: watch::Sender::new(None),
            open: Mutex::new(open),
            cancelled: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of somebody who will wait for an answer.
    pub(crate) fn expect(&self, ticket: Ticket, to: To, place: Place) -> Result<(), Failure> {
        let mut open = self.lock();
        if let Some(ended) = &open.ended {
            return Err(ended.failure());
        }
        if open.slots.is_empty() {
            open.last_word = Instant::now();
        }
        let slot = Slot { to, begun: false, cancelled: false, _place: place };
        open.slots.insert(ticket, slot);
        Ok(())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// How it ended, as a failure; for those who come too late.
    pub(crate) fn failure(&self) -> Failure {
        let ended = self.lock().ended.clone();
        ended.unwrap_or_else(Ending::asked).failure()
    }

    /// Nobody waits for a text any more.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        let mut open = self.lock();
        let Some(slot) = open.slots.get_mut(&ticket) else { return };
        if std::mem::replace(&mut slot.cancelled, true) || !slot.begun {
            // The writer sees the mark before it sends the order to begin.
            return;
        }
        open.cancels.push(ticket);
        self.cancelled.notify_one();
    }

    /// Whether an order is still wanted, right before it is sent.
    fn begins(&self, ticket: Ticket) -> bool {
        let mut open = self.lock();
        let Some(slot) = open.slots.get_mut(&ticket) else { return false };
        slot.begun = true;
        if slot.cancelled {
            open.slots.remove(&ticket);
            return false;
        }
        true
    }

    fn refuse(&self, ticket: Ticket, failure: Failure) {
        let slot = self.lock().slots.remove(&ticket);
        if let Some(slot) = slot {
            slot.to.fail(failure);
        }
    }

    /// Hands on what the other side says. An error is what no sound child says.
    fn on_report(&self, ticket: Ticket, report: Report) -> Result<(), &'static str> {
        let mut open = self.lock();
        open.last_word = Instant::now();
        match report {
            Report::Beat => {}
            Report::Output(output) => {
                let is_last = matches!(output, Output::Done(_) | Output::Failed(_));
                let Some(slot) = open.slots.get(&ticket) else { return Ok(()) };
                let To::Reader(mailbox) = &slot.to else {
                    let slot = open.slots.remove(&ticket);
                    drop(open);
                    return match (slot, output) {
                        (Some(slot), Output::Failed(failure)) => {
                            slot.to.fail(failure);
                            Ok(())
                        }
                        _ => Err("text in place of vectors"),
                    };
                };
                let mailbox = Arc::clone(mailbox);
                if is_last {
                    open.slots.remove(&ticket);
                }
                drop(open);
                if !mailbox.put(output) {
                    self.cancel(ticket);
                }
            }
            Report::Embedded(embedded) => match open.slots.remove(&ticket).map(|slot| slot.to) {
                Some(To::Vectors(reply)) => {
                    // Whoever asked may have left, which is his right.
                    let _ = reply.send(Ok(embedded));
                }
                Some(To::Reader(_)) => return Err("vectors in place of text"),
                None => {}
            },
            Report::Failed(failure) => {
                let slot = open.slots.remove(&ticket);
                drop(open);
                if let Some(slot) = slot {
                    slot.to.fail(failure);
                }
            }
            Report::Need { .. } => {}
            Report::Loaded(_) | Report::Progress { .. } | Report::Quantized => {
                return Err("a word of another job");
            }
        }
        Ok(())
    }

    /// Says to all who wait that it is over, and how.
    fn end(&self, ending: &Ending) {
        let slots = {
            let mut open = self.lock();
            open.ended = Some(ending.clone());
            open.cancels.clear();
            std::mem::take(&mut open.slots)
        };
        for slot in slots.into_values() {
            slot.to.fail(ending.failure());
        }
        self.ended.send_replace(Some(ending.clone()));
    }

    /// Requests that the other side works at.
    pub(crate) fn n_open(&self) -> usize {
        self.lock().slots.len()
    }
}

/// Writes orders to the other side, from its start on.
pub(crate) type Writing = BoxFuture<'static, std::convert::Infallible>;

/// Owns the other side until its end.
pub(crate) async fn drive(
    shared: Arc<Shared>,
    (mut reader, writing, mut life): (Reader, Writing, Life),
    mut feed: Feed,
    limits: Limits,
) {
    let pid = life.pid();
    let gates = feed.clone();
    let ending = tokio::select! {
        () = shared.stop.cancelled() => Some(Ending::asked()),
        ending = listen(&shared, &mut reader, &gates) => ending,
        ending = watch_over(&shared, pid, limits) => Some(ending),
        reason = feed.failed() => Some(missing(&reason)),
        never = writing => match never {},
    };
    let ending = match ending {
        Some(ending) => {
            // A thread stops when nobody reads its reports.
            drop(reader);
            life.kill().await;
            ending
        }
        None => Ending::exited(life.exit().await),
    };
    if ending.is_crash() {
        tracing::warn!(pid, cause = ?ending.cause, message = ending.message, "a model crashed");
    }
    shared.end(&ending);
}

/// The end of a model whose files did not come.
pub(crate) fn missing(reason: &str) -> Ending {
    Ending::new(Cause::Missing, format!("the rest of the model did not arrive: {reason}"))
}

/// Hands reports on until the pipe ends (none) or says what it must not.
async fn listen(shared: &Shared, reader: &mut Reader, gates: &Feed) -> Option<Ending> {
    let garbage = |what: &dyn std::fmt::Display| {
        let message = format!("the model's process said what makes no sense ({what})");
        Some(Ending::new(Cause::Garbage, message))
    };
    loop {
        match reader.next().await {
            Ok(Some((_, Report::Need { part, need }))) => {
                if let Err(what) = gates.need(part, &need) {
                    return garbage(&what);
                }
            }
            // No request has this number: it is the model that failed.
            Ok(Some((0, Report::Failed(failure)))) => return Some(Ending::unusable(failure)),
            Ok(Some((ticket, report))) => {
                if let Err(what) = shared.on_report(ticket, report) {
                    return garbage(&what);
                }
            }
            // A pipe that breaks inside a message is a process that ended there.
            Ok(None) | Err(FrameError::Pipe(_)) => return None,
            Err(error) => return garbage(&error),
        }
    }
}

/// Writes orders. Never ends: that the other side is gone is for the listener to notice.
pub(crate) async fn write(
    shared: Arc<Shared>,
    mut orders: mpsc::Receiver<(Ticket, Order)>,
    mut writer: Writer,
    mut feed: Feed,
) -> std::convert::Infallible {
    loop {
        let sent = tokio::select! {
            () = shared.cancelled.notified() => {
                let tickets = std::mem::take(&mut shared.lock().cancels);
                let mut sent = Ok(());
                for ticket in tickets {
                    sent = sent.and(writer.send(ticket, Order::Cancel).await);
                }
                sent
            }
            (part, ranges) = feed.next() => writer.send(0, Order::Arrived { part, ranges }).await,
            order = orders.recv() => match order {
                Some((ticket, order)) if shared.begins(ticket) => {
                    match writer.send(ticket, order).await {
                        Err(error @ (FrameError::TooLong { .. } | FrameError::Garbage { .. })) => {
                            let message = format!("the request is too large: {error}");
                            let kind = FailureKind::Request;
                            shared.refuse(ticket, Failure { kind, message });
                            Ok(())
                        }
                        sent => sent,
                    }
                }
                Some(_) => Ok(()),
                // The last handle is gone; `stop` is on its way.
                None => std::future::pending().await,
            },
        };
        if sent.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Watches until the other side goes too far.
async fn watch_over(shared: &Shared, pid: Option<u32>, limits: Limits) -> Ending {
    let mut ticks = interval((limits.stall / 4).clamp(Duration::from_millis(1), LOOK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut system = System::new().ok();
    loop {
        ticks.tick().await;
        if let Some(bytes) =
            system.as_mut().zip(pid).and_then(|(system, pid)| memory_of(system, pid))
        {
            shared.memory.store(bytes, Ordering::Relaxed);
            if let Some(limit) = limits.memory.filter(|limit| bytes > *limit) {
                let mib = |bytes: u64| bytes >> 20;
                let message = format!(
                    "the model's process took {} MiB of memory, more than the {} MiB that it may",
                    mib(bytes),
                    mib(limit)
                );
                return Ending::new(Cause::Memory, message);
            }
        }
        let silent = {
            let open = shared.lock();
            (!open.slots.is_empty()).then(|| open.last_word.elapsed())
        };
        if silent.is_some_and(|silent| silent >= limits.stall) {
            let message = format!(
                "the model's process worked for {} seconds without a word",
                limits.stall.as_secs_f64()
            );
            return Ending::new(Cause::Stalled, message);
        }
    }
}

/// Bytes of memory of a process that are not swapped out; none where the system does not tell.
fn memory_of(system: &mut System, pid: u32) -> Option<u64> {
    let pid = Pid::from_u32(pid);
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    system.process(pid).map(sysinfo::Process::memory).filter(|&bytes| bytes > 0)
}
