//! Models that turn a text into a vector: BERT encoders, as sentence-transformers publish them.
//!
//! Texts of different lengths are not padded to one: the linear layers take the tokens of all of
//! them as rows of one matrix, and attention is each text's own. So a text costs its own tokens, and
//! its vector does not depend on those that it is computed beside.
//!
//! Invariant: a vector has length 1, or the text has none and is refused.

mod graph;
mod load;
mod panels;
mod wordpiece;

use hive_api::{
    Embedded, Engine, EngineError, EngineOptions, GenerateRequest, ModelInfo, Output, Prompt,
    Ticket,
};

use crate::directory::Files;
use crate::error::unsupported;
use graph::Graph;
use wordpiece::WordPiece;

/// Tokens whose rows are computed together at most; more do not get faster.
const ROWS: usize = 2_048;

/// Which of the last layer's rows become the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    /// The mean of all.
    Mean,
    /// The first, which stands for the whole text.
    First,
}

/// A loaded encoder.
#[derive(Debug)]
pub struct Bert {
    info: ModelInfo,
    graph: Graph,
    tokenizer: WordPiece,
    pooling: Pooling,
    /// Tokens of a text at most, the two around it included.
    max_tokens: usize,
}

impl Bert {
    /// Loads an encoder from its directory. It computes on the processor, whatever is asked for:
    /// a short text takes a few milliseconds there.
    pub(crate) fn load(files: Files, options: &EngineOptions) -> Result<Self, EngineError> {
        crate::device(options.device)?;
        let mut bert = load::load(files)?;
        if let Some(context) = options.context {
            // Two of them stand around the text.
            bert.max_tokens = bert.max_tokens.min((context as usize).max(3));
            bert.info.context_length = bert.max_tokens as u32;
        }
        Ok(bert)
    }

    /// The tokens of a prompt. A text that is too long is cut, as the model was trained to have it.
    fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        match prompt {
            Prompt::Text(text) => self.tokenizer.encode(text, self.max_tokens),
            Prompt::Tokens(tokens) => {
                let n = tokens.len();
                if n == 0 {
                    return Err(EngineError::Request { reason: "a text of no tokens".to_owned() });
                }
                if self.max_tokens < n {
                    let context = self.max_tokens;
                    return Err(EngineError::PromptTooLong { tokens: n, context });
                }
                match tokens.iter().find(|&&id| self.info.vocab_size <= id) {
                    Some(id) => {
                        Err(EngineError::Request { reason: format!("{id} is not a token") })
                    }
                    None => Ok(tokens.clone()),
                }
            }
            Prompt::Chat(_) => Err(EngineError::Request {
                reason: "a chat cannot be embedded; send its messages as texts".to_owned(),
            }),
        }
    }

    /// Makes a vector of the rows of one text.
    fn pool(&self, rows: &[f32]) -> Result<Vec<f32>, EngineError> {
        let width = self.graph.width();
        let mut vector = match self.pooling {
            Pooling::First => rows[..width].to_vec(),
            Pooling::Mean => {
                let mut sum = vec![0.0_f32; width];
                for row in rows.chunks_exact(width) {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                sum
            }
        };
        let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if !(length.is_finite() && 1e-12 < length) {
            return Err(EngineError::Compute { reason: "the vector has no direction".to_owned() });
        }
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
        Ok(vector)
    }
}

impl Engine for Bert {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn free(&self) -> usize {
        0
    }

    fn begin(&mut self, _: Ticket, _: GenerateRequest) -> Result<(), EngineError> {
        Err(unsupported("it makes vectors of texts (`embed`) and does not generate"))
    }

    fn cancel(&mut self, _: Ticket) {}

    fn step(&mut self, _: &mut Vec<(Ticket, Output)>) {}

    fn embed(&mut self, texts: &[Prompt]) -> Result<Embedded, EngineError> {
        let texts: Vec<_> = texts.iter().map(|text| self.tokens(text)).collect::<Result<_, _>>()?;
        let mut vectors = Vec::with_capacity(texts.len());
        let mut at = 0;
        while at < texts.len() {
            // As many texts as fit, and one at least.
            let mut n_rows = 0;
            let fits = |text: &&Vec<u32>| {
                n_rows += text.len();
                n_rows <= ROWS
            };
            let n = texts[at..].iter().take_while(fits).count().max(1);
            let batch = &texts[at..at + n];
            let rows = self.graph.forward(batch);
            let mut rest = &rows[..];
            for text in batch {
                let (rows, others) = rest.split_at(text.len() * self.graph.width());
                vectors.push(self.pool(rows)?);
                rest = others;
            }
            at += n;
        }
        let tokens = texts.iter().map(Vec::len).sum::<usize>();
        Ok(Embedded { vectors, tokens: u32::try_from(tokens).unwrap_or(u32::MAX) })
    }
}

#[cfg(test)]
mod tests;
