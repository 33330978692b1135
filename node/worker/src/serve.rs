//! The loop that drives an engine: orders in, reports out. The same in a process and on a thread.

use std::collections::HashSet;
use std::time::Instant;

use hive_api::{Engine, Failure, FailureKind, Output, Ticket};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::limits::BEAT;
use crate::message::{Order, Report};

/// Nobody listens any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Drives an engine until nobody gives orders or nobody listens, or until it can do nothing more,
/// which is noticed when something is asked of it and is the last that is said. Blocks.
pub(crate) fn serve(
    engine: &mut dyn Engine,
    orders: &mut Receiver<(Ticket, Order)>,
    report: &mut dyn FnMut(Ticket, Report) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let mut open = HashSet::new();
    let mut outputs = Vec::new();
    let mut spoke = Instant::now();
    loop {
        loop {
            let next = if open.is_empty() {
                orders.blocking_recv().ok_or(TryRecvError::Disconnected)
            } else {
                orders.try_recv()
            };
            match next {
                Ok((ticket, order)) => {
                    if let Some(answer) = obey(engine, ticket, order, &mut open) {
                        report(ticket, answer)?;
                        spoke = Instant::now();
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        engine.step(&mut outputs);
        if outputs.is_empty() && spoke.elapsed() >= BEAT {
            report(0, Report::Beat)?;
            spoke = Instant::now();
        }
        let failure = engine.failure();
        for (ticket, output) in outputs.drain(..) {
            let is_last = matches!(output, Output::Done(_) | Output::Failed(_));
            if is_last && !open.remove(&ticket) {
                continue;
            }
            report(ticket, Report::Output(output))?;
            spoke = Instant::now();
        }
        if let Some(failure) = failure {
            // Whoever has no answer yet is told by whoever hears this.
            return report(0, Report::Failed(failure));
        }
    }
}

/// Does what does not take a step; says what is to be told of it.
fn obey(
    engine: &mut dyn Engine,
    ticket: Ticket,
    order: Order,
    open: &mut HashSet<Ticket>,
) -> Option<Report> {
    match order {
        Order::Begin(request) => match engine.begin(ticket, *request) {
            Ok(()) => {
                open.insert(ticket);
                None
            }
            Err(error) => Some(Report::Output(Output::Failed((&error).into()))),
        },
        Order::Cancel => {
            if open.contains(&ticket) {
                engine.cancel(ticket);
            }
            None
        }
        Order::Embed(texts) => Some(match engine.embed(&texts) {
            Ok(embedded) => Report::Embedded(embedded),
            Err(error) => Report::Failed((&error).into()),
        }),
        Order::Unreadable(message) => {
            let failure = Failure { kind: FailureKind::Request, message };
            Some(Report::Output(Output::Failed(failure)))
        }
        // It is started already; a parent does not say that twice.
        Order::Start(_) => None,
        // Taken by whoever reads orders; a thread shares its parent's gate.
        Order::Arrived { .. } => None,
    }
}
