//! A loaded model: a decoder, its tokenizer, and the texts that it works at.
//!
//! Each step reads one token of every text that is being written and a stretch of the prompts that
//! are not read yet, all in one pass over the weights. A long prompt is read in stretches, so that
//! nobody's text stands still for it, and the first of several is never held up by later ones.
//!
//! What is read is remembered ([`prefixes`]): a prompt starts from the longest beginning that it
//! shares with a text that ended, or with one that is still being worked at. One that begins like a
//! prompt that is just being read waits for it.
//!
//! Invariant: what becomes of a text depends on nobody else's; one that fails, fails alone.

mod arriving;
mod prefixes;
mod prompt;
mod text;

use std::io::{Read, Seek};

use candle_nn::ops::log_softmax;
use hive_api::{
    Embedded, Engine, EngineError, EngineOptions, Failure, Finish, GenerateRequest, ModelInfo,
    ModelKind, Output, Prompt, Ticket,
};
use hive_protocol::gguf::Header;

use crate::config::{Config, recognise};
use crate::decoder::{self, CHUNK, Decoder, Rows, Stretch, Wave};
use crate::error::{compute, invalid, unsupported};
use crate::tokenizer::Tokenizer;
use crate::{validate, weights};
use arriving::Filling;
use prefixes::{Common, Prefixes, common};
use prompt::Prompts;
use text::{Next, Text};

/// Tokens of prompts read in one step while texts are being written: more would make these wait.
const SHARED_CHUNK: usize = 64;
/// Tokens that two prompts have in common before it pays to wait, or to keep them apart.
const WORTH_SHARING: usize = 32;
/// Texts that an engine works at together at most, whatever is asked for.
const MAX_PLACES: usize = 256;

/// A text, by its place among the others, and how it ended.
type Ended = (usize, Result<Finish, EngineError>);

/// A model of the llama family: Llama, Mistral, Qwen 2 and 3, Gemma 3.
pub struct Llama {
    /// What puts the weights in their places, if that began before they were here.
    filling: Option<Filling>,
    info: ModelInfo,
    decoder: Decoder,
    prompts: Prompts,
    places: usize,
    texts: Vec<Text>,
    prefixes: Prefixes,
    /// A prompt that goes through the layers while they arrive, and whose it is.
    wave: Option<(Ticket, Wave)>,
}

/// What a header says of a model, once it is known to make sense.
fn described(
    header: &Header,
    file_len: u64,
    options: &EngineOptions,
) -> Result<(Config, candle_core::Device, ModelInfo), EngineError> {
    let mut config = recognise(header)?;
    validate::tensors(header, &config, file_len)?;
    if let Some(context) = options.context {
        config.context = config.context.min(context.max(1) as usize);
    }
    let info = ModelInfo {
        architecture: header.architecture().unwrap_or_default().to_owned(),
        name: header.name().map(str::to_owned),
        kind: ModelKind::Generate,
        template: None,
        parameters: header.parameters(),
        context_length: config.context as u32,
        width: config.width as u32,
        vocab_size: config.vocab as u32,
        weight_bytes: 0,
        bytes_per_token: config.bytes_per_token(),
    };
    Ok((config, crate::device(options.device)?, info))
}

/// A tokenizer that panicked.
fn upset() -> EngineError {
    invalid("the tokenizer is of a kind that upsets the library that reads it")
}

impl std::fmt::Debug for Llama {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (info, n_texts) = (&self.info, self.texts.len());
        f.debug_struct("Llama").field("info", info).field("texts", &n_texts).finish()
    }
}

impl Llama {
    /// Loads a model. Blocking, for a second or many.
    pub fn load<R: Read + Seek + Send>(
        mut reader: R,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let (header, file_len) = crate::read_header(&mut reader)?;
        let (config, device, mut info) = described(&header, file_len, options)?;
        let mut source = weights::File::new(reader, &header, device.clone());
        // A vocabulary takes as long to sort as a small model to read.
        let (tokenizer, decoder) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::read(&header));
            let decoder = Decoder::new(config, &mut source, &device);
            (tokenizer.join().map_err(|_| upset()), decoder)
        });
        let (tokenizer, decoder) = (tokenizer??, decoder?);
        info.weight_bytes = source.n_bytes();
        Ok(Self::assemble(&header, tokenizer, decoder, info, options))
    }

    fn assemble(
        header: &Header,
        tokenizer: Tokenizer,
        decoder: Decoder,
        mut info: ModelInfo,
        options: &EngineOptions,
    ) -> Self {
        let (context, vocab) = (info.context_length as usize, info.vocab_size as usize);
        let prompts = Prompts::new(header, tokenizer, context, vocab);
        info.template = prompts.template();
        Self {
            filling: None,
            info,
            decoder,
            prompts,
            places: (options.places as usize).clamp(1, MAX_PLACES),
            texts: Vec::new(),
            prefixes: Prefixes::new(options.prefix_bytes),
            wave: None,
        }
    }

    /// Returns the tokens of a text, with those that the tokenizer adds.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.prompts.tokenizer.encode(text)
    }

    /// Returns how surprised the model is by a text: e to the mean negative log-likelihood of each
    /// token after the first.
    pub fn perplexity(&mut self, text: &str) -> Result<f64, EngineError> {
        let tokens = self.tokenize(text)?;
        self.perplexity_of(&tokens)
    }

    /// Returns the perplexity of tokens; see [`perplexity`](Self::perplexity).
    pub fn perplexity_of(&mut self, tokens: &[u32]) -> Result<f64, EngineError> {
        self.prompts.check(tokens)?;
        let mut sum = 0.0;
        let mut cache = self.decoder.cache();
        while cache.len() < tokens.len() {
            let at = cache.len();
            let end = tokens.len().min(at + self.decoder.chunk_len(at).min(32));
            let logits = self
                .decoder
                .forward(&mut [Stretch {
                    tokens: &tokens[at..end],
                    cache: &mut cache,
                    rows: Rows::All,
                }])
                .and_then(|logits| logits.map(|logits| log_softmax(&logits, 1)).transpose())
                .map_err(compute)?;
            for (row, &next) in (0..end - at).zip(tokens.iter().skip(at + 1)) {
                let row = logits.as_ref().map(|logits| logits.get(row)?.get(next as usize));
                let log = row.map_or(Ok(0.0), |log| log?.to_scalar::<f32>()).map_err(compute)?;
                sum -= f64::from(log);
            }
        }
        Ok((sum / (tokens.len() - 1).max(1) as f64).exp())
    }

    /// Ends the texts that end without another token.
    fn end_early(&mut self, outputs: &mut Vec<(Ticket, Output)>) {
        for text in std::mem::take(&mut self.texts) {
            match text.ended_early() {
                Some(finish) => self.end(text, Ok(finish), outputs),
                None => self.texts.push(text),
            }
        }
    }

    /// Ends a text and keeps what was read of it.
    fn end(
        &mut self,
        mut text: Text,
        how: Result<Finish, EngineError>,
        outputs: &mut Vec<(Ticket, Output)>,
    ) {
        let finish = match how {
            Ok(finish) => finish,
            Err(error) => {
                outputs.push((text.ticket, Output::Failed(Failure::from(&error))));
                return;
            }
        };
        text.end(finish, outputs);
        if let Some(cache) = text.cache.take() {
            // What cannot be kept is read again.
            let _ = self.prefixes.keep(&text.tokens, cache);
        }
    }

    /// Gives a text that has not begun what is remembered of its beginning. Does nothing if it
    /// should wait for another, which is just reading the same.
    fn start(&mut self, index: usize) -> candle_core::Result<()> {
        let text = &self.texts[index];
        let prompt = &text.tokens[..text.n_prompt];
        let (kept, mut longest) = self.prefixes.find(prompt);
        let mut best = kept;
        let mut coming = 0;
        for other in &self.texts {
            let Some(cache) = &other.cache else { continue };
            let shared = Common::new(prompt, &other.tokens, cache);
            longest = longest.max(shared.len);
            if shared.complete && best.is_none_or(|(_, len)| len < shared.len) {
                best = Some((cache, shared.len));
            }
            if other.is_reading() {
                let all = common(&prompt[..prompt.len() - 1], &other.tokens);
                coming = coming.max(if cache.len() < all { all } else { 0 });
            }
        }
        let n_cached = best.map_or(0, |(_, len)| len);
        if n_cached + WORTH_SHARING <= coming {
            return Ok(());
        }
        let cache = match best {
            Some((cache, len)) if 0 < len => cache.prefix(len, CHUNK)?,
            _ => self.decoder.cache(),
        };
        let text = &mut self.texts[index];
        text.n_cached = n_cached;
        text.checkpoint = Some(longest).filter(|&len| n_cached + WORTH_SHARING <= len);
        text.cache = Some(cache);
        Ok(())
    }

    /// How many tokens of each text are read now.
    fn plan(&self) -> Vec<usize> {
        let mut plan = vec![0; self.texts.len()];
        let mut reading = Vec::new();
        for (index, text) in self.texts.iter().enumerate() {
            if text.cache.is_none() {
                continue;
            }
            if text.is_reading() {
                reading.push(index);
            } else {
                plan[index] = 1;
            }
        }
        let writes = plan.iter().any(|&n| 0 < n);
        let mut rest = if writes { SHARED_CHUNK } else { CHUNK };
        // Half is for the first that came, so that it gets on; then whoever needs least.
        let first = reading.first().copied();
        if let Some(first) = first.filter(|_| 1 < reading.len()) {
            plan[first] = self.stretch(first, 0, rest / 2);
            rest -= plan[first];
        }
        reading.sort_by_key(|&index| (Some(index) == first, self.texts[index].tokens.len()));
        for index in reading {
            let more = self.stretch(index, plan[index], rest);
            plan[index] += more;
            rest -= more;
        }
        plan
    }

    /// How many more tokens of a prompt can be read now, `most` of them, after `planned` others.
    fn stretch(&self, index: usize, planned: usize, most: usize) -> usize {
        let text = &self.texts[index];
        let at = text.n_read() + planned;
        let end = text.checkpoint.unwrap_or(text.n_prompt);
        let chunk = self.decoder.chunk_len(text.n_read()).saturating_sub(planned);
        (end - at).min(chunk).min(most)
    }

    /// Reads what was planned; returns what is known of the next token of the texts that get one.
    fn read(&mut self, plan: &[usize]) -> candle_core::Result<Vec<(usize, Next)>> {
        let mut wanted = Vec::new();
        let mut batch = Vec::new();
        let mut greedy = true;
        for (index, (text, &n)) in self.texts.iter_mut().zip(plan).enumerate() {
            let takes_likeliest = text.takes_likeliest();
            let Some(cache) = text.cache.as_mut().filter(|_| 0 < n) else { continue };
            let at = cache.len();
            let tokens = &text.tokens[at..at + n];
            let rows = if at + n == text.tokens.len() { Rows::Last } else { Rows::None };
            if rows == Rows::Last {
                wanted.push(index);
                greedy &= takes_likeliest;
            }
            batch.push(Stretch { tokens, cache, rows });
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let next = if greedy {
            self.decoder.likeliest(&mut batch)?
        } else {
            self.decoder.forward(&mut batch)?.map(decoder::Next::Logits)
        };
        match next {
            None => Ok(Vec::new()),
            Some(decoder::Next::Tokens(tokens)) => {
                Ok(wanted.into_iter().zip(tokens.into_iter().map(Next::Token)).collect())
            }
            Some(decoder::Next::Logits(logits)) => {
                let row = |(row, index)| Ok((index, Next::Logits(logits.get(row)?.to_vec1()?)));
                wanted.into_iter().enumerate().map(row).collect()
            }
        }
    }

    /// Lets some texts go on, given what is known of the next token of each.
    fn say(
        &mut self,
        next: Vec<(usize, Next)>,
        ended: &mut Vec<Ended>,
        outputs: &mut Vec<(Ticket, Output)>,
    ) {
        for (index, next) in next {
            match self.texts[index].advance(next, &self.prompts.tokenizer, outputs) {
                Ok(None) => {}
                Ok(Some(finish)) => ended.push((index, Ok(finish))),
                Err(error) => ended.push((index, Err(error))),
            }
        }
    }

    /// Ends texts.
    fn end_all(&mut self, mut ended: Vec<Ended>, outputs: &mut Vec<(Ticket, Output)>) {
        ended.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
        for (index, how) in ended {
            let text = self.texts.remove(index);
            self.end(text, how, outputs);
        }
    }

    /// Leaves a prefix where prompts were seen to part.
    fn leave_prefixes(&mut self) {
        for text in &mut self.texts {
            if text.checkpoint.is_some_and(|at| at == text.n_read()) {
                text.checkpoint = None;
                if let Some(cache) = &text.cache
                    && let Ok(copy) = cache.prefix(cache.len(), 0)
                {
                    // What cannot be kept is read again.
                    let _ = self.prefixes.keep(&text.tokens, copy);
                }
            }
        }
    }
}

impl Engine for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn free(&self) -> usize {
        self.places - self.texts.len()
    }

    fn begin(&mut self, ticket: Ticket, request: GenerateRequest) -> Result<(), EngineError> {
        if self.free() == 0 {
            return Err(crate::error::request(format!(
                "all {} places of the model are taken; wait for one",
                self.places
            )));
        }
        Text::check(&request, self.info.vocab_size as usize)?;
        let prepared = self.prompts.prepare(ticket, &request)?;
        let context = self.info.context_length as usize;
        self.texts.push(Text::new(ticket, prepared, context, request));
        Ok(())
    }

    fn cancel(&mut self, ticket: Ticket) {
        for text in self.texts.iter_mut().filter(|text| text.ticket == ticket) {
            text.cancelled = true;
        }
    }

    fn step(&mut self, outputs: &mut Vec<(Ticket, Output)>) {
        self.end_early(outputs);
        if let Some(failure) = self.failure() {
            return self.fail_all(&failure, outputs);
        }
        if self.wave.is_some() || !self.decoder.is_complete() {
            return self.step_through_arriving(outputs);
        }
        let mut failed = Vec::new();
        for index in 0..self.texts.len() {
            if self.texts[index].cache.is_none()
                && let Err(error) = self.start(index)
            {
                failed.push((index, error));
            }
        }
        let plan = self.plan();
        let mut ended: Vec<Ended> =
            failed.into_iter().map(|(index, error)| (index, Err(compute(error)))).collect();
        let read = match self.rows_are_here(&plan) {
            Ok(true) => self.read(&plan),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        match read {
            Ok(next) => {
                self.leave_prefixes();
                self.say(next, &mut ended, outputs);
            }
            // The backend itself failed: nobody knows how far the caches got.
            Err(error) => {
                let reason = error.to_string();
                let failed = plan.iter().enumerate().filter(|(_, n)| 0 < **n);
                ended.extend(failed.map(|(index, _)| {
                    (index, Err(EngineError::Compute { reason: reason.clone() }))
                }));
            }
        }
        self.end_all(ended, outputs);
    }

    fn embed(&mut self, _: &[Prompt]) -> Result<Embedded, EngineError> {
        Err(unsupported(format!(
            "a {} model generates text; for vectors take an embedding model",
            self.info.architecture
        )))
    }

    fn failure(&self) -> Option<Failure> {
        self.filling.as_ref().and_then(Filling::failure)
    }
}

#[cfg(test)]
mod gemma_tests;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod tests;
