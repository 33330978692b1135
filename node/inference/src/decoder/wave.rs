//! A prompt on its way through a model that is still arriving.
//!
//! It goes through each layer as soon as that is here, in the pieces in which it would be read of a
//! model that is whole: the arithmetic is the same, to the last bit, only layer by layer and not
//! piece by piece.

use candle_core::Tensor;

use super::attention::Span;
use super::{Cache, Decoder, Flow};

/// Tokens that go together at most; the rest of a prompt follows when the model is here. Their rows
/// and masks are in memory all the while.
pub(crate) const WAVE: usize = 2_048;

/// The first tokens of a prompt, somewhere between two layers.
#[derive(Debug)]
pub(crate) struct Wave {
    cache: Cache,
    pieces: Vec<(Span, Flow)>,
    n_tokens: usize,
    /// The layer to go through next.
    next: usize,
}

impl Wave {
    /// The layer to go through next.
    pub(crate) fn next(&self) -> usize {
        self.next
    }
}

impl Decoder {
    /// Begins with some tokens, whose rows must be here.
    pub(crate) fn begin_wave(&self, tokens: &[u32]) -> candle_core::Result<Wave> {
        let mut pieces = Vec::new();
        let mut position = 0;
        while position < tokens.len() {
            let n = self.chunk_len(position).min(tokens.len() - position);
            let span = Span { start: 0, n, position };
            let piece = &tokens[position..position + n];
            pieces.push((span, self.within(n, || self.enter(piece, &[span]))?));
            position += n;
        }
        Ok(Wave { cache: self.cache(), pieces, n_tokens: tokens.len(), next: 0 })
    }

    /// Goes through the next layer, which must be here.
    pub(crate) fn carry(&self, wave: &mut Wave) -> candle_core::Result<()> {
        let layer = self.parts.layer(wave.next)?;
        for (span, flow) in &mut wave.pieces {
            let kept = std::iter::once(wave.cache.layer(wave.next));
            flow.x = self.within(span.n, || {
                layer.forward(&self.config, &flow.x, flow.step(layer.reach), kept)
            })?;
        }
        wave.next += 1;
        Ok(())
    }

    /// Ends behind the last layer: returns what is remembered and the logits that say what follows.
    pub(crate) fn end_wave(&self, mut wave: Wave) -> candle_core::Result<(Cache, Option<Tensor>)> {
        wave.cache.advance(wave.n_tokens);
        let Some((span, flow)) = wave.pieces.pop() else { return Ok((wave.cache, None)) };
        let last = flow.x.narrow(0, span.n - 1, 1)?;
        let logits = self.within(span.n, || self.logits(&self.leave(&last)?))?;
        Ok((wave.cache, Some(logits)))
    }

    /// Computes in candle's own threads, as a step of as many tokens would.
    fn within<T: Send>(
        &self,
        n_tokens: usize,
        work: impl FnOnce() -> candle_core::Result<T> + Send,
    ) -> candle_core::Result<T> {
        if n_tokens == 1 { work() } else { self.device.with_context(work) }
    }
}
