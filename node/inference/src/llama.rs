//! A loaded model: a decoder, its tokenizer and the memory of one text.

use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::time::Instant;

use candle_core::Tensor;
use candle_nn::ops::log_softmax;
use hive_api::{Cancel, Engine, EngineError, Finish, GenerateRequest, Generated, ModelInfo, Piece};

use crate::config::{ARCHITECTURES, Config};
use crate::decoder::{Cache, Decoder, Rows};
use crate::error::{compute, invalid, unsupported};
use crate::sampler::Sampler;
use crate::stop::{Added, Output};
use crate::tokenizer::Tokenizer;
use crate::{Options, validate, weights};

/// A model of the llama family: Llama, Mistral, Qwen 2 and 3, Gemma 3.
#[derive(Debug)]
pub struct Llama {
    info: ModelInfo,
    decoder: Decoder,
    tokenizer: Tokenizer,
    cache: Cache,
}

impl Llama {
    /// Loads a model. Blocking, for seconds.
    pub fn load<R: Read + Seek>(mut reader: R, options: &Options) -> Result<Self, EngineError> {
        let (header, file_len) = crate::read_header(&mut reader)?;
        let name = header
            .architecture()
            .ok_or_else(|| invalid("the value `general.architecture` is missing"))?;
        let Some((_, architecture)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            return Err(unsupported(format!("the architecture `{name}`; supported are {known}")));
        };
        let config = Config::read(&header, *architecture)?;
        validate::tensors(&header, &config, file_len)?;
        let tokenizer = Tokenizer::read(&header)?;

        let device = crate::device(options.device)?;
        let mut source = weights::File::new(reader, &header, device.clone());
        let (context, vocab) = (config.context, config.vocab);
        let decoder = Decoder::new(config, &mut source, &device)?;
        let info = ModelInfo {
            architecture: name.to_owned(),
            name: header.name().map(str::to_owned),
            parameters: header.parameters(),
            context_length: context as u32,
            vocab_size: vocab as u32,
            weight_bytes: source.n_bytes(),
        };
        let cache = decoder.cache();
        Ok(Self { info, decoder, tokenizer, cache })
    }

    /// Returns the tokens of a text, with those that the tokenizer adds.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.tokenizer.encode(text)
    }

    /// Returns how surprised the model is by a text: e to the mean negative log-likelihood of each
    /// token after the first.
    pub fn perplexity(&mut self, text: &str) -> Result<f64, EngineError> {
        let tokens = self.tokenize(text)?;
        self.perplexity_of(&tokens)
    }

    /// Returns the perplexity of tokens; see [`perplexity`](Self::perplexity).
    pub fn perplexity_of(&mut self, tokens: &[u32]) -> Result<f64, EngineError> {
        self.check(tokens)?;
        let mut sum = 0.0;
        let mut at = 0;
        self.cache.clear();
        while at < tokens.len() {
            let end = tokens.len().min(at + self.decoder.chunk_len(at).min(32));
            let logits = self
                .decoder
                .forward(&tokens[at..end], &mut self.cache, Rows::All)
                .and_then(|logits| log_softmax(&logits, 1))
                .map_err(compute)?;
            for (row, &next) in (0..end - at).zip(tokens.iter().skip(at + 1)) {
                let log = logits.get(row).and_then(|row| row.get(next as usize));
                let log = log.and_then(|log| log.to_scalar::<f32>()).map_err(compute)?;
                sum -= f64::from(log);
            }
            at = end;
        }
        Ok((sum / (tokens.len() - 1).max(1) as f64).exp())
    }

    /// Refuses what the graph could not take.
    fn check(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let context = self.info.context_length as usize;
        if context <= tokens.len() {
            return Err(EngineError::PromptTooLong { tokens: tokens.len(), context });
        }
        if tokens.is_empty() {
            return Err(EngineError::Compute { reason: "there is nothing to continue".to_owned() });
        }
        if let Some(token) = tokens.iter().find(|&&token| self.info.vocab_size <= token) {
            return Err(EngineError::Compute { reason: format!("{token} is not a token") });
        }
        Ok(())
    }

    /// Reads the prompt in pieces; none when cancelled on the way.
    fn read_prompt(
        &mut self,
        tokens: &[u32],
        cancel: &Cancel,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        self.cache.clear();
        let mut at = 0;
        let mut logits = None;
        while at < tokens.len() {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            let end = tokens.len().min(at + self.decoder.chunk_len(at));
            logits = Some(self.step(&tokens[at..end])?);
            at = end;
        }
        Ok(logits)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.decoder
            .forward(tokens, &mut self.cache, Rows::Last)
            .and_then(|logits: Tensor| logits.flatten_all()?.to_vec1())
            .map_err(compute)
    }
}

impl Engine for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Piece) -> ControlFlow<()>,
    ) -> Result<Generated, EngineError> {
        let started = Instant::now();
        let context = self.info.context_length as usize;
        // A text that cannot fit is refused before it is taken apart.
        let tokens = request.prompt.len() / self.tokenizer.longest();
        if context <= tokens {
            return Err(EngineError::PromptTooLong { tokens, context });
        }
        let prompt = self.tokenizer.encode(&request.prompt)?;
        self.check(&prompt)?;
        let mut sampler = Sampler::new(request.sampling);
        let mut output = Output::new(&request.stop);
        let mut logits = self.read_prompt(&prompt, cancel)?;
        let prompt_seconds = started.elapsed().as_secs_f64();

        let started = Instant::now();
        let mut emit = |text: String| {
            if text.is_empty() { ControlFlow::Continue(()) } else { sink(Piece { text }) }
        };
        let mut n_generated = 0;
        let finish = loop {
            let Some(known) = &logits else { break Finish::Cancelled };
            let full = context <= prompt.len() + n_generated as usize;
            if n_generated == request.max_tokens || full {
                break Finish::Length;
            }
            if cancel.is_cancelled() {
                break Finish::Cancelled;
            }
            let token = sampler.draw(known)?;
            if self.tokenizer.is_end(token) {
                break Finish::Stop;
            }
            n_generated += 1;
            match output.push(&self.tokenizer.bytes(token)) {
                Added::Text(text) => {
                    if emit(text).is_break() {
                        break Finish::Cancelled;
                    }
                }
                Added::Stopped(text) => {
                    // Whatever the sink says, this is the end.
                    let _ = emit(text);
                    break Finish::Stop;
                }
            }
            // Nobody asks what follows the last token.
            let last = n_generated == request.max_tokens;
            if !last && prompt.len() + (n_generated as usize) < context {
                logits = Some(self.step(&[token])?);
            }
        };
        if finish != Finish::Cancelled {
            let _ = emit(output.finish());
        }
        Ok(Generated {
            finish,
            prompt_tokens: prompt.len() as u32,
            generated_tokens: n_generated,
            prompt_seconds,
            generate_seconds: started.elapsed().as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod gemma_tests;
#[cfg(test)]
mod tests;
