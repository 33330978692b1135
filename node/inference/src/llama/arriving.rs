//! A model that answers while it arrives.
//!
//! It is loaded as far as others can see when its header and its tokenizer are here. A thread of its
//! own then puts the weights in their places, in the order of need, and a step carries the first
//! prompt through the layers that are there. When all are, this module is never asked again.
//!
//! Invariant: a step never waits long for bytes, so orders are heard and cancelled texts end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hive_api::{
    EngineError, EngineOptions, Failure, FailureKind, Gate, Gated, Leave, Need, Output, Ticket,
};

use super::text::{Next, Text};
use super::{Ended, Llama, described, upset};
use crate::decoder::{Decoder, Parts, WAVE};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, TableRows};
use crate::{arrival, memory};

/// How long a step waits for a part.
const PATIENCE: Duration = Duration::from_millis(50);

impl Llama {
    /// Loads a model whose file may still be arriving. Blocks until its header is here; of a file
    /// that is whole, until all of it is loaded.
    pub(crate) fn load_arriving(
        mut reader: Gated,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let Some(gate) = reader.gate().filter(|gate| !gate.is_whole()).cloned() else {
            return Self::load(reader, options);
        };
        let (header, file_len) = crate::read_arriving_header(&mut reader)?;
        let (config, device, mut info) = described(&header, file_len, options)?;
        gate.need(&Need { ranges: arrival::order_of_need(&header), now: false });
        info.weight_bytes = memory::weights(&header);
        let rows = if header.tensor("output.weight").is_some() {
            let (name, width) = ("token_embd.weight", config.width);
            Some(TableRows::new(reader.clone(), &header, name, width, device.clone())?)
        } else {
            None
        };
        let decoder = Decoder::arriving(config.clone(), &device, rows);
        let (parts, header) = (Arc::clone(decoder.parts()), Arc::new(header));
        let of_thread = Arc::clone(&header);
        let filling = Filling::start(gate, parts, reader, move |parts, reader| {
            let mut source = weights::File::new(reader, &of_thread, device);
            parts.fill(&config, &mut source)
        })?;
        let tokenizer = std::thread::scope(|scope| {
            scope.spawn(|| Tokenizer::read(&header)).join().map_err(|_| upset())
        })??;
        let filling = Some(filling);
        Ok(Self { filling, ..Self::assemble(&header, tokenizer, decoder, info, options) })
    }

    /// A step with a model that is not all here: carries the first prompt on, as far as it can.
    pub(super) fn step_through_arriving(&mut self, outputs: &mut Vec<(Ticket, Output)>) {
        if let Err(error) = self.carry(outputs) {
            if let Some(failure) = self.filling.as_ref().and_then(Filling::failure) {
                return self.fail_all(&failure, outputs);
            }
            let reason = error.to_string();
            self.wave = None;
            let failed = |index| (index, Err(EngineError::Compute { reason: reason.clone() }));
            let ended: Vec<Ended> = (0..self.texts.len()).map(failed).collect();
            self.end_all(ended, outputs);
        }
    }

    /// Ends all texts, since the model can do nothing more.
    pub(super) fn fail_all(&mut self, failure: &Failure, outputs: &mut Vec<(Ticket, Output)>) {
        self.wave = None;
        let failed = |text: Text| (text.ticket, Output::Failed(failure.clone()));
        outputs.extend(self.texts.drain(..).map(failed));
    }

    fn carry(&mut self, outputs: &mut Vec<(Ticket, Output)>) -> candle_core::Result<()> {
        let is_at_work = |ticket| self.texts.iter().position(|text| text.ticket == ticket);
        let (index, mut wave) = if let Some((ticket, wave)) = self.wave.take() {
            // One that was cancelled ends here; what is next begins anew.
            let Some(index) = is_at_work(ticket) else { return Ok(()) };
            (index, wave)
        } else {
            let Some(text) = self.texts.first() else { return Ok(()) };
            let tokens = &text.tokens[..text.n_prompt.min(WAVE)];
            if !self.decoder.wait_for_rows(tokens, PATIENCE)? {
                return Ok(());
            }
            (0, self.decoder.begin_wave(tokens)?)
        };
        let ticket = self.texts[index].ticket;
        let is_here = self.decoder.wait_for_layer(wave.next(), PATIENCE)?;
        if is_here && wave.next() < self.decoder.n_layers() {
            self.decoder.carry(&mut wave)?;
        } else if is_here {
            let (cache, logits) = self.decoder.end_wave(wave)?;
            let text = &mut self.texts[index];
            let is_read = cache.len() == text.n_prompt;
            text.cache = Some(cache);
            if let Some(logits) = logits.filter(|_| is_read) {
                let mut ended = Vec::new();
                let next = Next::Logits(logits.get(0)?.to_vec1()?);
                self.say(vec![(index, next)], &mut ended, outputs);
                self.end_all(ended, outputs);
            }
            return Ok(());
        }
        self.wave = Some((ticket, wave));
        Ok(())
    }

    /// Whether the rows of the tokens are here that are read next.
    pub(super) fn rows_are_here(&self, plan: &[usize]) -> candle_core::Result<bool> {
        let next = self.texts.iter().zip(plan).map(|(text, &n)| {
            let at = text.n_read();
            &text.tokens[at..at + n]
        });
        let tokens: Vec<u32> = next.flatten().copied().collect();
        self.decoder.wait_for_rows(&tokens, PATIENCE)
    }
}

/// The thread that puts weights in their places. Dropping this ends it.
#[derive(Debug)]
pub(super) struct Filling {
    gate: Gate,
    leave: Leave,
    parts: Arc<Parts>,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    /// Starts it. However it ends, nobody waits for a part that does not come.
    fn start(
        gate: Gate,
        parts: Arc<Parts>,
        reader: Gated,
        fill: impl FnOnce(&Parts, Gated) -> Result<(), EngineError> + Send + 'static,
    ) -> Result<Self, EngineError> {
        let leave = Leave::default();
        let reader = reader.ending_with(&leave);
        let in_thread = Unwinding(Arc::clone(&parts));
        let thread = std::thread::Builder::new().name("weights".to_owned()).spawn(move || {
            if let Err(error) = fill(&in_thread.0, reader) {
                in_thread.0.fail((&error).into());
            }
        });
        let thread = Some(thread.map_err(EngineError::Io)?);
        Ok(Self { gate, leave, parts, thread })
    }

    /// Why it ended too early.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.parts.failure()
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // It may stand before bytes that nobody brings.
        self.gate.leave(&self.leave);
        if let Some(thread) = self.thread.take() {
            // That it panicked was told.
            let _ = thread.join();
        }
    }
}

/// Tells those who wait for parts of a panic of whoever brings them.
struct Unwinding(Arc<Parts>);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // As a load that panics where nobody else waits.
            let message = "the thread that loads the weights panicked".to_owned();
            self.0.fail(Failure { kind: FailureKind::Crashed, message });
        }
    }
}

#[cfg(test)]
mod tests;
