//! The model while it learns: the llama graph from operations that candle can differentiate.
//!
//! What runs it later is hive-inference, with other code for the same graph; a test there holds the
//! perplexity of the trained file against the one that was measured here.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{loss, ops, rotary_emb};

use super::Dice;
use super::corpus::Corpus;

pub(super) const WIDTH: usize = 192;
pub(super) const LAYERS: usize = 6;
pub(super) const HEADS: usize = 6;
pub(super) const FFN: usize = 512;
/// Tokens in a window, the one that begins it included.
pub(super) const CONTEXT: usize = 256;
pub(super) const EPSILON: f32 = 1e-5;
pub(super) const ROPE_BASE: f32 = 10_000.0;

/// The first tokens: unknown, begin, end. Then the 256 bytes, then the space.
pub(super) const BEGIN: u32 = 1;
pub(super) const FIRST_BYTE: u32 = 3;
pub(super) const SPACE: u32 = FIRST_BYTE + 256;
pub(super) const VOCAB: usize = SPACE as usize + 1;

/// Returns the tokens of a text: a byte each, but for the space, which SentencePiece's rules turn
/// into a character of three bytes and which therefore is a token of its own.
pub(super) fn tokens(text: &str) -> Vec<u32> {
    let token = |byte| if byte == b' ' { SPACE } else { FIRST_BYTE + u32::from(byte) };
    text.bytes().map(token).collect()
}

/// Weights by the name that they have in the file.
pub(super) struct Model {
    weights: Vec<(String, Var)>,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
}

impl Model {
    pub(super) fn new(dice: &mut Dice) -> Result<Self> {
        let mut weights = Vec::new();
        let mut matrix = |name: String, n_out: usize, n_in: usize, deviation: f32| -> Result<()> {
            let numbers: Vec<f32> = (0..n_out * n_in).map(|_| dice.normal() * deviation).collect();
            let tensor = Tensor::from_vec(numbers, (n_out, n_in), &Device::Cpu)?;
            weights.push((name, Var::from_tensor(&tensor)?));
            Ok(())
        };
        let plain = 1.0 / (WIDTH as f32).sqrt();
        // What is added to the stream starts small, so that depth does not make it grow.
        let added = plain / (2.0 * LAYERS as f32).sqrt();
        matrix("token_embd.weight".into(), VOCAB, WIDTH, 0.05)?;
        for layer in 0..LAYERS {
            for (site, n_out, n_in, deviation) in [
                ("attn_q", WIDTH, WIDTH, plain),
                ("attn_k", WIDTH, WIDTH, plain),
                ("attn_v", WIDTH, WIDTH, plain),
                ("attn_output", WIDTH, WIDTH, added),
                ("ffn_gate", FFN, WIDTH, plain),
                ("ffn_up", FFN, WIDTH, plain),
                ("ffn_down", WIDTH, FFN, added),
            ] {
                matrix(format!("blk.{layer}.{site}.weight"), n_out, n_in, deviation)?;
            }
        }
        let norms = (0..LAYERS)
            .flat_map(|layer| ["attn_norm", "ffn_norm"].map(|site| format!("blk.{layer}.{site}")))
            .chain(["output_norm".to_owned()]);
        for name in norms {
            let ones = Var::ones(WIDTH, DType::F32, &Device::Cpu)?;
            weights.push((format!("{name}.weight"), ones));
        }

        let half = WIDTH / HEADS / 2;
        let angle = |at: usize| {
            let (position, pair) = (at / half, at % half);
            position as f32 * ROPE_BASE.powf(-(pair as f32) / half as f32)
        };
        let angles: Vec<f32> = (0..CONTEXT * half).map(angle).collect();
        let angles = Tensor::from_vec(angles, (CONTEXT, half), &Device::Cpu)?;
        let mask: Vec<f32> = (0..CONTEXT * CONTEXT)
            .map(|at| if at / CONTEXT < at % CONTEXT { f32::NEG_INFINITY } else { 0.0 })
            .collect();
        let mask = Tensor::from_vec(mask, (CONTEXT, CONTEXT), &Device::Cpu)?;
        Ok(Self { weights, cos: angles.cos()?, sin: angles.sin()?, mask })
    }

    pub(super) fn variables(&self) -> Vec<Var> {
        self.weights.iter().map(|(_, var)| var.clone()).collect()
    }

    pub(super) fn weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.iter().map(|(name, var)| (name.as_str(), var.as_tensor()))
    }

    /// The mean surprise at each token of some windows, in nats.
    pub(super) fn loss(&self, windows: &[&[u32]]) -> Result<Tensor> {
        let n = windows.len();
        let mut inputs = Vec::new();
        for window in windows {
            inputs.push(BEGIN);
            inputs.extend_from_slice(&window[..CONTEXT - 1]);
        }
        let inputs = Tensor::from_vec(inputs, n * CONTEXT, &Device::Cpu)?;
        let targets = Tensor::from_vec(windows.concat(), n * CONTEXT, &Device::Cpu)?;
        loss::cross_entropy(&self.logits(&inputs, n)?, &targets)
    }

    /// The mean surprise at text that was kept back.
    pub(super) fn held_out(&self, corpus: &Corpus) -> Result<f32> {
        let (mut sum, mut n) = (0.0, 0.0);
        for window in corpus.held_out().chunks_exact(CONTEXT).take(32) {
            sum += self.loss(&[window])?.to_scalar::<f32>()?;
            n += 1.0;
        }
        Ok(sum / n)
    }

    fn logits(&self, inputs: &Tensor, n: usize) -> Result<Tensor> {
        let table = self.weight("token_embd")?;
        let mut x = table.index_select(inputs, 0)?;
        for layer in 0..LAYERS {
            let at = |site: &str| self.weight(&format!("blk.{layer}.{site}"));
            let h = ops::rms_norm_slow(&x, &at("attn_norm")?, EPSILON)?;
            let heads = |site: &str| -> Result<Tensor> {
                let rows = h.matmul(&at(site)?.t()?)?;
                rows.reshape((n, CONTEXT, HEADS, WIDTH / HEADS))?.transpose(1, 2)?.contiguous()
            };
            let rotate = |heads: Tensor| rotary_emb::rope_i_slow(&heads, &self.cos, &self.sin);
            let (query, key) = (rotate(heads("attn_q")?)?, rotate(heads("attn_k")?)?);
            let scale = 1.0 / ((WIDTH / HEADS) as f64).sqrt();
            let scores = (query.matmul(&key.t()?)? * scale)?.broadcast_add(&self.mask)?;
            let mixed = ops::softmax(&scores, D::Minus1)?.matmul(&heads("attn_v")?)?;
            let mixed = mixed.transpose(1, 2)?.reshape((n * CONTEXT, WIDTH))?;
            x = (x + mixed.matmul(&at("attn_output")?.t()?)?)?;
            let h = ops::rms_norm_slow(&x, &at("ffn_norm")?, EPSILON)?;
            let gate = h.matmul(&at("ffn_gate")?.t()?)?.silu()?;
            let gated = (gate * h.matmul(&at("ffn_up")?.t()?)?)?;
            x = (x + gated.matmul(&at("ffn_down")?.t()?)?)?;
        }
        let x = ops::rms_norm_slow(&x, &self.weight("output_norm")?, EPSILON)?;
        x.matmul(&table.t()?)
    }

    fn weight(&self, site: &str) -> Result<Tensor> {
        let name = format!("{site}.weight");
        let found = self.weights.iter().find(|(known, _)| *known == name);
        found.map(|(_, var)| var.as_tensor().clone()).ok_or_else(|| candle_core::Error::Msg(name))
    }
}
