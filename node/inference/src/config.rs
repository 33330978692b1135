//! What a decoder looks like: one graph, a configuration for each family of models.
//!
//! Everything is read from the file's values, in the names of llama.cpp's converter, and held
//! against ranges that no honest model leaves. After [`recognise`] no number in it can divide by
//! zero, overflow a shape or ask for memory that the tensors of the file do not back.

use hive_api::EngineError;
use hive_protocol::gguf::{Header, Value};

use crate::error::{invalid, unsupported};

/// The families that this crate's own graph runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
}

/// The names under which they occur in files.
pub(crate) const ARCHITECTURES: [(&str, Architecture); 5] = [
    ("llama", Architecture::Llama),
    ("mistral", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("gemma3", Architecture::Gemma3),
];

/// Layers of Gemma 3 that look back a window only, between two that look back all the way.
const GEMMA3_PERIOD: usize = 6;
/// The base of the local layers' rotation in Gemma 3, if the file has none.
const GEMMA3_LOCAL_BASE: f32 = 10_000.0;
/// Gemma 3 27B, which alone scales attention by its width over its heads, has so many layers.
const GEMMA3_27B_LAYERS: usize = 62;

/// The function between the two halves of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    /// The approximation by tanh, which is the one that Gemma was trained with.
    Gelu,
}

/// Which elements of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// 0 with 1, 2 with 3: llama.cpp permutes Llama's rows for this.
    Neighbours,
    /// i with i + half.
    Halves,
}

/// How fast positions rotate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rotation {
    pub(crate) base: f32,
    /// Positions are divided by this.
    pub(crate) factor: f32,
}

/// A layer's view back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All positions before it.
    Global,
    /// The window.
    Local,
}

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) architecture: Architecture,
    pub(crate) n_layers: usize,
    pub(crate) width: usize,
    pub(crate) ffn: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) attention_scale: f64,
    pub(crate) embedding_scale: Option<f64>,
    pub(crate) activation: Activation,
    pub(crate) pairing: Pairing,
    pub(crate) global: Rotation,
    pub(crate) local: Rotation,
    /// Positions that a local layer sees, its own included.
    pub(crate) window: Option<usize>,
    /// Every so manieth layer is global; 1 if there is a window for all.
    pub(crate) period: usize,
    /// Queries and keys are normalised per head.
    pub(crate) qk_norm: bool,
    /// The results of attention and feed-forward are normalised before they are added.
    pub(crate) post_norms: bool,
}

/// Reads the shape of a model, if its architecture is one of ours.
pub(crate) fn recognise(header: &Header) -> Result<Config, EngineError> {
    Config::read(header, architecture(header)?, vocabulary_len(header)?)
}

/// Reads the shape of a model of which the vocabulary's length alone is known.
pub(crate) fn recognise_without_vocabulary(
    header: &Header,
    n_tokens: u64,
) -> Result<Config, EngineError> {
    Config::read(header, architecture(header)?, checked_vocabulary_len(n_tokens)?)
}

fn architecture(header: &Header) -> Result<Architecture, EngineError> {
    let name = header
        .architecture()
        .ok_or_else(|| invalid("the value `general.architecture` is missing"))?;
    let Some((_, architecture)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = ARCHITECTURES.iter().map(|(known, _)| *known).collect();
        let known = known.join(", ");
        return Err(unsupported(format!("the architecture `{name}`; supported are {known}")));
    };
    Ok(*architecture)
}

impl Config {
    /// Reads the shape from a header whose architecture is one of ours.
    fn read(
        header: &Header,
        architecture: Architecture,
        vocab: usize,
    ) -> Result<Self, EngineError> {
        let values = Values { header, prefix: header.architecture().unwrap_or_default() };
        let width = values.size("embedding_length", 1..=65_536)?;
        let n_layers = values.size("block_count", 1..=512)?;
        let n_heads = values.size("attention.head_count", 1..=1_024)?;
        let n_kv_heads = match values.get("attention.head_count_kv") {
            Some(_) => values.size("attention.head_count_kv", 1..=1_024)?,
            None => n_heads,
        };
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(invalid(format!("{n_heads} heads cannot share {n_kv_heads} of keys")));
        }
        let head_dim = match values.get("attention.key_length") {
            Some(_) => values.size("attention.key_length", 2..=1_024)?,
            None if width.is_multiple_of(n_heads) => width / n_heads,
            None => return Err(invalid(format!("{n_heads} heads do not divide {width}"))),
        };
        if !head_dim.is_multiple_of(2) || 1_024 < head_dim {
            return Err(invalid(format!("heads of {head_dim} cannot rotate")));
        }
        values.equal("attention.value_length", head_dim)?;
        values.equal("rope.dimension_count", head_dim)?;
        values.zero("expert_count", "a mixture of experts")?;

        let gemma = architecture == Architecture::Gemma3;
        let global = Rotation {
            base: values.real("rope.freq_base", 1.0..=1e12)?.unwrap_or(10_000.0),
            factor: values.rope_factor()?,
        };
        let local = Rotation {
            base: values.real("rope.freq_base_swa", 1.0..=1e12)?.unwrap_or(GEMMA3_LOCAL_BASE),
            factor: 1.0,
        };
        let context = values.size("context_length", 1..=1 << 30)?;
        // Qwen's files name a window that its models were not made to use.
        let windowed = matches!(architecture, Architecture::Gemma3 | Architecture::Llama);
        let window = match values.get("attention.sliding_window").and_then(Value::as_u64) {
            Some(len) if windowed && 0 < len && len < context as u64 => Some(len as usize),
            _ => None,
        };
        let divisor =
            if gemma && n_layers == GEMMA3_27B_LAYERS { width / n_heads } else { head_dim };
        Ok(Self {
            architecture,
            n_layers,
            width,
            ffn: values.size("feed_forward_length", 1..=1 << 20)?,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab,
            // Memory for positions is taken as they come, so a model may claim more than fits.
            context: context.min(MAX_CONTEXT),
            epsilon: values
                .real("attention.layer_norm_rms_epsilon", 0.0..=1.0)?
                .ok_or_else(|| values.missing("attention.layer_norm_rms_epsilon"))?,
            attention_scale: 1.0 / (divisor.max(1) as f64).sqrt(),
            embedding_scale: gemma.then(|| (width as f64).sqrt()),
            activation: if gemma { Activation::Gelu } else { Activation::Silu },
            pairing: match architecture {
                Architecture::Llama => Pairing::Neighbours,
                _ => Pairing::Halves,
            },
            global,
            local: if gemma { local } else { global },
            window,
            period: if gemma { GEMMA3_PERIOD } else { usize::MAX },
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            post_norms: gemma,
        })
    }

    /// Bytes of keys and values that a token takes.
    pub(crate) fn bytes_per_token(&self) -> u64 {
        let row = self.n_kv_heads * self.head_dim * size_of::<f32>();
        2 * (self.n_layers * row) as u64
    }

    /// How far back a layer looks.
    pub(crate) fn reach(&self, layer: usize) -> Reach {
        let global = self.window.is_none() || (layer + 1).is_multiple_of(self.period);
        if global { Reach::Global } else { Reach::Local }
    }
}

/// Positions that are kept at most: a longer context costs more memory than any laptop has.
const MAX_CONTEXT: usize = 1 << 20;

/// Tokens in a vocabulary at most.
pub(crate) const MAX_VOCAB: u64 = 1 << 20;

fn vocabulary_len(header: &Header) -> Result<usize, EngineError> {
    let tokens = header
        .strings("tokenizer.ggml.tokens")
        .ok_or_else(|| invalid("the value `tokenizer.ggml.tokens` is missing"))?;
    checked_vocabulary_len(tokens.len() as u64)
}

fn checked_vocabulary_len(n_tokens: u64) -> Result<usize, EngineError> {
    if n_tokens == 0 || MAX_VOCAB < n_tokens {
        return Err(invalid(format!("{n_tokens} tokens in the vocabulary")));
    }
    Ok(n_tokens as usize)
}

/// The values of one architecture: `gemma3.block_count` is `block_count` here.
struct Values<'a> {
    header: &'a Header,
    prefix: &'a str,
}

impl Values<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(&format!("{}.{key}", self.prefix))
    }

    fn missing(&self, key: &str) -> EngineError {
        invalid(format!("the value `{}.{key}` is missing", self.prefix))
    }

    fn size(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, EngineError> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.filter(|size| range.contains(size)).ok_or_else(|| {
            invalid(format!("the value `{}.{key}` is not a number in {range:?}", self.prefix))
        })
    }

    fn real(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, EngineError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            Value::F32(x) => Some(*x),
            _ => None,
        };
        // A NaN is in no range.
        number.filter(|x| range.contains(x)).map(Some).ok_or_else(|| {
            invalid(format!("the value `{}.{key}` is not a number in {range:?}", self.prefix))
        })
    }

    fn equal(&self, key: &str, expected: usize) -> Result<(), EngineError> {
        match self.get(key).map(Value::as_u64) {
            None => Ok(()),
            Some(Some(n)) if n == expected as u64 => Ok(()),
            Some(_) => Err(unsupported(format!(
                "`{}.{key}` differs from the {expected} elements of a head",
                self.prefix
            ))),
        }
    }

    fn zero(&self, key: &str, what: &str) -> Result<(), EngineError> {
        match self.get(key).map(Value::as_u64) {
            None | Some(Some(0)) => Ok(()),
            Some(_) => Err(unsupported(format!("{what} (`{}.{key}`)", self.prefix))),
        }
    }

    fn rope_factor(&self) -> Result<f32, EngineError> {
        let kind = match self.get("rope.scaling.type") {
            None => None,
            Some(Value::Str(kind)) => Some(kind.as_str()),
            Some(_) => return Err(invalid("the kind of position scaling is not a string")),
        };
        let factor = self.real("rope.scaling.factor", 0.001..=1_000.0)?;
        // Files older than the named kinds have only this.
        let linear = self.real("rope.scale_linear", 0.001..=1_000.0)?;
        match kind {
            None => Ok(factor.or(linear).unwrap_or(1.0)),
            Some("none") => Ok(1.0),
            Some("linear") => factor.ok_or_else(|| self.missing("rope.scaling.factor")),
            Some(kind) => Err(unsupported(format!(
                "positions scaled by `{kind}`; supported are `none`, `linear` and Llama 3's table"
            ))),
        }
    }
}
