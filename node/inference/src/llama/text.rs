//! One text that is being worked at: its prompt, what follows it, and when it ends.
//!
//! Never computes: it is given logits and says which token they become and what of it may be shown.
//!
//! Invariant: `tokens` are the prompt and all that was generated; the cache has read the first
//! `cache.len()` of them.

use std::collections::VecDeque;
use std::time::Instant;

use hive_api::{
    EngineError, Finish, GenerateRequest, Generated, Output, Piece, Ticket, TokenLogprob,
};

use super::prompt::Prepared;
use crate::arithmetic::exp;
use crate::chat::{Calls, Read, belongs_to_call};
use crate::constraint::Constraint;
use crate::decoder::Cache;
use crate::error::request;
use crate::sampler::{Sampler, best};
use crate::stop;
use crate::tokenizer::Tokenizer;

/// Log-probabilities of other tokens that are told at most.
const MAX_TOP: u32 = 20;
/// Stop strings at most, and bytes in one.
const MAX_STOPS: usize = 64;
const MAX_STOP_LEN: usize = 1_024;

/// What is known of the next token.
pub(super) enum Next {
    /// All logits.
    Logits(Vec<f32>),
    /// The likeliest token.
    Token(u32),
}

/// A text in work.
pub(super) struct Text {
    pub(super) ticket: Ticket,
    /// The prompt and all that was generated.
    pub(super) tokens: Vec<u32>,
    pub(super) n_prompt: usize,
    /// Tokens of the prompt that were remembered.
    pub(super) n_cached: usize,
    /// What was read; none before the first step with it.
    pub(super) cache: Option<Cache>,
    /// Where to leave a prefix for other prompts.
    pub(super) checkpoint: Option<usize>,
    pub(super) cancelled: bool,
    /// Tokens that may be generated.
    limit: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    calls: Option<Calls>,
    top: Option<usize>,
    output: stop::Output,
    /// Tokens whose text is held back, each with the number of bytes up to its end.
    held: VecDeque<(TokenLogprob, usize)>,
    n_bytes: usize,
    began: Instant,
    read: Option<Instant>,
}

impl Text {
    /// Takes in a request that was understood and [checked](Self::check).
    pub(super) fn new(
        ticket: Ticket,
        prepared: Prepared,
        context: usize,
        request: GenerateRequest,
    ) -> Self {
        let Prepared { tokens, constraint, calls, stops } = prepared;
        let limit = context.saturating_sub(tokens.len());
        let limit = request.max_tokens.map_or(limit, |n| limit.min(n as usize));
        let mut stop = request.stop;
        stop.extend(stops.iter().map(|&stop| stop.to_owned()));
        Self {
            ticket,
            n_prompt: tokens.len(),
            n_cached: 0,
            cache: None,
            checkpoint: None,
            cancelled: false,
            limit,
            sampler: Sampler::new(request.sampling, &tokens),
            tokens,
            constraint,
            calls,
            top: request.logprobs.map(|n| n as usize),
            output: stop::Output::new(&stop),
            held: VecDeque::new(),
            n_bytes: 0,
            began: Instant::now(),
            read: None,
        }
    }

    /// Refuses values that make no sense, by name.
    pub(super) fn check(wanted: &GenerateRequest, vocab: usize) -> Result<(), EngineError> {
        Sampler::check(&wanted.sampling, vocab)?;
        if wanted.logprobs.is_some_and(|n| MAX_TOP < n) {
            return Err(request(format!("`logprobs` must be from 0 to {MAX_TOP}")));
        }
        if MAX_STOPS < wanted.stop.len() {
            return Err(request(format!("`stop` has more than {MAX_STOPS} strings")));
        }
        if wanted.stop.iter().any(|stop| MAX_STOP_LEN < stop.len()) {
            return Err(request(format!("a string of `stop` is over {MAX_STOP_LEN} bytes long")));
        }
        Ok(())
    }

    /// Tokens that were read.
    pub(super) fn n_read(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// Whether some of the prompt is not read yet.
    pub(super) fn is_reading(&self) -> bool {
        self.tokens.len() == self.n_prompt && self.n_read() < self.n_prompt
    }

    /// Whether it ends before anything is computed.
    pub(super) fn ended_early(&self) -> Option<Finish> {
        if self.cancelled {
            Some(Finish::Cancelled)
        } else if self.limit == 0 {
            Some(Finish::Length)
        } else {
            None
        }
    }

    /// Whether the likeliest token is always the next: nothing is drawn, changed or told.
    pub(super) fn takes_likeliest(&self) -> bool {
        self.top.is_none() && self.constraint.is_none() && self.sampler.takes_likeliest()
    }

    /// Draws the token that follows, and shows what may be shown. Given a token, it must be one that
    /// [takes it](Self::takes_likeliest).
    pub(super) fn advance(
        &mut self,
        next: Next,
        tokenizer: &Tokenizer,
        outputs: &mut Vec<(Ticket, Output)>,
    ) -> Result<Option<Finish>, EngineError> {
        self.read.get_or_insert_with(Instant::now);
        let mut raw = None;
        let token = match next {
            Next::Token(token) => token,
            Next::Logits(mut logits) => {
                raw = self.top.map(|top| (Raw::new(&logits, top), logits.clone()));
                if let Some(constraint) = &mut self.constraint {
                    constraint.mask(&mut logits)?;
                }
                self.sampler.draw(&mut logits)?
            }
        };
        if tokenizer.is_end(token) {
            return Ok(Some(Finish::Stop));
        }
        self.sampler.accept(token);
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.tokens.push(token);
        let bytes = tokenizer.bytes(token);
        self.n_bytes += bytes.len();
        if let Some((raw, logits)) = raw {
            let told = raw.tell(token, logits[token as usize], tokenizer);
            self.held.push_back((told, self.n_bytes));
        }
        match self.output.push(&bytes) {
            stop::Added::Text(text) => self.show(&text, false, outputs),
            stop::Added::Stopped(text) => {
                let shown = self.output.shown();
                self.held.retain(|(token, end)| end - token.bytes.len() < shown);
                self.show(&text, false, outputs);
                return Ok(Some(Finish::Stop));
            }
        }
        self.show_control(token, tokenizer, outputs);
        if self.constraint.as_ref().is_some_and(Constraint::is_done) {
            return Ok(Some(Finish::Stop));
        }
        if self.limit <= self.tokens.len() - self.n_prompt {
            return Ok(Some(Finish::Length));
        }
        Ok(None)
    }

    /// Ends the text: shows what was held back, unless nobody wants it, and what it cost.
    pub(super) fn end(&mut self, finish: Finish, outputs: &mut Vec<(Ticket, Output)>) {
        if finish != Finish::Cancelled {
            let text = self.output.finish();
            self.show(&text, true, outputs);
        }
        let called = finish == Finish::Stop && self.calls.as_ref().is_some_and(Calls::any);
        let read = self.read.unwrap_or_else(Instant::now);
        let generated = Generated {
            finish: if called { Finish::ToolCalls } else { finish },
            prompt_tokens: self.n_prompt as u32,
            cached_tokens: self.n_cached as u32,
            generated_tokens: (self.tokens.len() - self.n_prompt) as u32,
            prompt_seconds: (read - self.began).as_secs_f64(),
            generate_seconds: read.elapsed().as_secs_f64(),
        };
        outputs.push((self.ticket, Output::Done(generated)));
    }

    /// Shows text with the tokens that are complete with it, or the calls that it is; at the end
    /// with all that there are.
    fn show(&mut self, text: &str, last: bool, outputs: &mut Vec<(Ticket, Output)>) {
        let mut reads = match &mut self.calls {
            Some(calls) => calls.push(text),
            None => vec![Read::Text(text.to_owned())],
        };
        if let Some(calls) = self.calls.as_mut().filter(|_| last) {
            reads.extend(calls.finish());
        }
        for read in reads {
            match read {
                Read::Text(text) if text.is_empty() => {}
                Read::Text(text) => {
                    let tokens = self.complete(last);
                    outputs.push((self.ticket, Output::Piece(Piece { text, tokens })));
                }
                Read::Call(call) => {
                    // Its tokens are no text.
                    self.complete(last);
                    outputs.push((self.ticket, Output::ToolCall(call)));
                }
            }
        }
        let rest = if last { self.complete(true) } else { Vec::new() };
        if !rest.is_empty() {
            let piece = Piece { text: String::new(), tokens: rest };
            outputs.push((self.ticket, Output::Piece(piece)));
        }
    }

    /// A special token that begins or ends a call has a text for the reader, and for it alone.
    fn show_control(
        &mut self,
        token: u32,
        tokenizer: &Tokenizer,
        outputs: &mut Vec<(Ticket, Output)>,
    ) {
        if self.calls.is_none() || !tokenizer.is_control(token) {
            return;
        }
        if let Some(control) = tokenizer.text(token).filter(|text| belongs_to_call(text)) {
            // No character and no stop string goes on behind it.
            let text = self.output.finish();
            self.show(&text, false, outputs);
            self.show(control, false, outputs);
        }
    }

    /// Takes the tokens whose text was let go; at the end all.
    fn complete(&mut self, last: bool) -> Vec<TokenLogprob> {
        let shown = self.output.shown();
        let n = self.held.iter().take_while(|(_, end)| last || *end <= shown).count();
        self.held.drain(..n).map(|(token, _)| token).collect()
    }
}

/// What logits say before anything changes them.
struct Raw {
    /// The logarithm of the sum of their exponentials.
    log_sum: f32,
    top: Vec<(u32, f32)>,
}

impl Raw {
    fn new(logits: &[f32], top: usize) -> Self {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |x: f32| if x.is_nan() { 0.0 } else { exp(x - most) };
        let sums = logits.chunks(256).map(|part| part.iter().map(|&x| weight(x)).sum::<f32>());
        let log_sum = most + sums.map(f64::from).sum::<f64>().ln() as f32;
        let top = best(logits, top).into_iter().map(|id| (id, logits[id as usize])).collect();
        Self { log_sum, top }
    }

    fn tell(self, token: u32, logit: f32, tokenizer: &Tokenizer) -> TokenLogprob {
        let one = |(token, logit): (u32, f32)| TokenLogprob {
            token,
            bytes: tokenizer.bytes(token).into_owned(),
            logprob: logit - self.log_sum,
            top: Vec::new(),
        };
        let top = self.top.iter().copied().map(one).collect();
        TokenLogprob { top, ..one((token, logit)) }
    }
}
