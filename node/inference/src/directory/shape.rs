//! What `config.json` says, in the values of a GGUF header.
//!
//! Only what the graph can do is let through. A field that changes the computation and that the
//! graph does not know refuses the model, by its name; a field that says how the model was trained
//! or how Python shall run it is left alone.

use hive_api::EngineError;
use hive_protocol::gguf::Value;
use serde_json::Value as Json;

use super::names::Biases;
use crate::error::{invalid, unsupported};

/// Families: `model_type` in the file, the class that the file was made for, the name in GGUF.
/// llama.cpp's converter, too, calls Mistral `llama`.
const FAMILIES: [(&str, &str, &str); 5] = [
    ("llama", "LlamaForCausalLM", "llama"),
    ("mistral", "MistralForCausalLM", "llama"),
    ("qwen2", "Qwen2ForCausalLM", "qwen2"),
    ("qwen3", "Qwen3ForCausalLM", "qwen3"),
    ("gemma3_text", "Gemma3ForCausalLM", "gemma3"),
];

/// Every sixth layer of Gemma 3 looks back all the way. GGUF has no word for another number.
const GEMMA3_PERIOD: u64 = 6;
/// Layers of the one Gemma 3 that scales attention by its width over its heads.
const GEMMA3_27B_LAYERS: u64 = 62;

/// A model's shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// `general.architecture` and the values under it.
    pub(crate) values: Vec<(String, Value)>,
    /// Tokens that the tables have rows for; more than the tokenizer has, if they were padded.
    pub(crate) vocab: u64,
    pub(crate) biases: Biases,
    /// The head is the table.
    pub(crate) tied: bool,
    /// What Llama 3.1 divides the speed of each pair by.
    pub(crate) divisors: Option<Vec<f32>>,
    /// Tokens that end a text.
    pub(crate) ends: Vec<u32>,
}

/// Reads `config.json`.
pub(crate) fn read(config: &Json) -> Result<Shape, EngineError> {
    let fields = Fields(config);
    let kind = fields.text("model_type")?.unwrap_or_default();
    let known = FAMILIES.iter().find(|(name, ..)| *name == kind);
    let Some(&(_, class, architecture)) = known else {
        let known: Vec<_> = FAMILIES.iter().map(|(name, ..)| *name).collect();
        return Err(unsupported(format!(
            "`config.json` has the model_type `{}`; supported are {}, and `bert` for embeddings",
            kind.escape_debug(),
            known.join(", ")
        )));
    };
    if let Some(classes) = config.get("architectures").filter(|classes| !classes.is_null())
        && !classes.as_array().is_some_and(|all| all.iter().any(|name| name == class))
    {
        return Err(unsupported(format!("the model is not a `{class}` (`architectures`)")));
    }
    refuse(&fields)?;

    let gemma = architecture == "gemma3";
    let (width, heads) = (fields.count("hidden_size")?, fields.count("num_attention_heads")?);
    let layers = fields.count("num_hidden_layers")?;
    let head_dim = match fields.number("head_dim")? {
        Some(n) => n,
        None if gemma => 256,
        None if kind == "qwen3" => 128,
        None if heads != 0 && width.is_multiple_of(heads) => width / heads,
        None => return Err(invalid(format!("{heads} heads do not divide {width}"))),
    };
    let context = fields.count("max_position_embeddings")?;
    let mut values = vec![("general.architecture".to_owned(), Value::Str(architecture.to_owned()))];
    let mut set = |key: &str, value: Value| values.push((format!("{architecture}.{key}"), value));
    set("block_count", whole(layers)?);
    set("context_length", whole(context)?);
    set("embedding_length", whole(width)?);
    set("feed_forward_length", whole(fields.count("intermediate_size")?)?);
    set("attention.head_count", whole(heads)?);
    set("attention.head_count_kv", whole(fields.number("num_key_value_heads")?.unwrap_or(heads))?);
    set("attention.key_length", whole(head_dim)?);
    set("attention.value_length", whole(head_dim)?);
    let epsilon = fields.real("rms_norm_eps")?.unwrap_or(1e-6);
    set("attention.layer_norm_rms_epsilon", Value::F32(epsilon as f32));

    let positions = Positions::read(&fields, gemma)?;
    set("rope.freq_base", Value::F32(positions.base as f32));
    let mut divisors = None;
    match positions.scaling {
        Scaling::None => {}
        Scaling::Linear(factor) => {
            set("rope.scaling.type", Value::Str("linear".to_owned()));
            set("rope.scaling.factor", Value::F32(factor as f32));
        }
        Scaling::Llama3(llama3) => divisors = Some(llama3.divisors(positions.base, head_dim)?),
    }

    let activation = match fields.text("hidden_activation")? {
        Some(name) => Some(name),
        None => fields.text("hidden_act")?,
    };
    let expected = if gemma { "gelu_pytorch_tanh" } else { "silu" };
    if activation.is_some_and(|name| name != expected) {
        return Err(unsupported(format!("an activation other than `{expected}` (`hidden_act`)")));
    }
    if gemma {
        set("rope.freq_base_swa", Value::F32(positions.local_base as f32));
        set("attention.sliding_window", whole(fields.number("sliding_window")?.unwrap_or(4_096))?);
        gemma_layers(&fields, layers)?;
        let divisor = if layers == GEMMA3_27B_LAYERS { width / heads.max(1) } else { head_dim };
        if fields.number("query_pre_attn_scalar")?.is_some_and(|n| n != divisor) {
            return Err(unsupported(format!("`query_pre_attn_scalar` other than {divisor}")));
        }
    } else if kind == "mistral"
        && let Some(window) = fields.number("sliding_window")?
    {
        set("attention.sliding_window", whole(window)?);
    }
    let attention_bias = fields.truth("attention_bias")?.unwrap_or(false);
    Ok(Shape {
        values,
        vocab: fields.count("vocab_size")?,
        biases: Biases {
            queries_keys_values: attention_bias || kind == "qwen2",
            attention_output: attention_bias && kind != "qwen2",
            ffn: fields.truth("mlp_bias")?.unwrap_or(false),
        },
        tied: fields.truth("tie_word_embeddings")?.unwrap_or(gemma),
        divisors,
        ends: ends(config)?,
    })
}

/// The tokens that end a text, from `config.json` or `generation_config.json`.
pub(crate) fn ends(config: &Json) -> Result<Vec<u32>, EngineError> {
    let id = |json: &Json| json.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match config.get("eos_token_id") {
        None | Some(Json::Null) => Some(Vec::new()),
        Some(Json::Array(ids)) if ids.len() <= 64 => ids.iter().map(id).collect(),
        Some(json) => id(json).map(|id| vec![id]),
    };
    ids.ok_or_else(|| invalid("`eos_token_id` is not a token or a list of tokens"))
}

/// Refuses what would compute something else than the model does.
fn refuse(fields: &Fields<'_>) -> Result<(), EngineError> {
    for name in ["num_local_experts", "num_experts", "n_routed_experts"] {
        if fields.number(name)?.is_some_and(|n| 0 < n) {
            return Err(unsupported(format!("a mixture of experts (`{name}`)")));
        }
    }
    for (name, what) in [
        ("quantization_config", "weights that were quantised by a Python tool"),
        ("attn_logit_softcapping", "capped attention scores"),
        ("final_logit_softcapping", "capped logits"),
        ("vision_config", "pictures"),
        ("layer_scale", "scaled layers"),
    ] {
        if fields.0.get(name).is_some_and(|value| !value.is_null()) {
            return Err(unsupported(format!("{what} (`{name}`)")));
        }
    }
    for (name, what) in [
        ("use_sliding_window", "Qwen's sliding window"),
        ("use_bidirectional_attention", "attention to what follows"),
    ] {
        if fields.truth(name)?.unwrap_or(false) {
            return Err(unsupported(format!("{what} (`{name}`)")));
        }
    }
    if fields.real("partial_rotary_factor")?.is_some_and(|part| (part - 1.0).abs() > 1e-6) {
        return Err(unsupported("heads that rotate in part (`partial_rotary_factor`)"));
    }
    Ok(())
}

/// Checks that Gemma's layers alternate as they do in every model so far.
fn gemma_layers(fields: &Fields<'_>, layers: u64) -> Result<(), EngineError> {
    let other = || unsupported("layers that alternate other than five local ones and a global one");
    for name in ["sliding_window_pattern", "_sliding_window_pattern"] {
        if fields.number(name)?.is_some_and(|n| n != GEMMA3_PERIOD) {
            return Err(other());
        }
    }
    if let Some(Json::Array(types)) = fields.0.get("layer_types") {
        let expected = (1..=layers).map(|layer| {
            if layer.is_multiple_of(GEMMA3_PERIOD) { "full_attention" } else { "sliding_attention" }
        });
        if types.len() as u64 != layers || !types.iter().zip(expected).all(|(a, b)| a == b) {
            return Err(other());
        }
    }
    Ok(())
}

/// How positions rotate.
struct Positions {
    base: f64,
    local_base: f64,
    scaling: Scaling,
}

enum Scaling {
    None,
    Linear(f64),
    Llama3(Llama3),
}

/// Llama 3.1's way to a longer context: slow pairs are slowed down, fast ones are left alone.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    trained: f64,
}

impl Positions {
    /// Reads the fields of Transformers 4 (`rope_theta`, `rope_scaling`) or of 5
    /// (`rope_parameters`, for Gemma one for each type of layer).
    fn read(fields: &Fields<'_>, gemma: bool) -> Result<Self, EngineError> {
        let object = |name: &str| fields.0.get(name).filter(|value| value.is_object());
        let parameters = object("rope_parameters");
        let of = |layers: &str| match parameters {
            Some(all) => all.get(layers).filter(|one| one.is_object()).or(Some(all)),
            None => None,
        };
        let global = of("full_attention");
        let base = |parameters: Option<&Json>| match parameters {
            Some(json) => Fields(json).real("rope_theta"),
            None => Ok(None),
        };
        let default = if gemma { 1e6 } else { 10_000.0 };
        let scaling = match global.or(object("rope_scaling")) {
            None => Scaling::None,
            Some(json) => scaling(&Fields(json))?,
        };
        let local = parameters.and_then(|all| all.get("sliding_attention"));
        if let Some(local) = local.filter(|local| local.is_object())
            && !matches!(scaling_of(local)?, Scaling::None)
        {
            return Err(unsupported("scaled positions in local layers"));
        }
        let old_base = fields.real("rope_theta")?;
        let old_local = fields.real("rope_local_base_freq")?;
        Ok(Self {
            base: base(global)?.or(old_base).unwrap_or(default),
            local_base: base(local)?.or(old_local).unwrap_or(10_000.0),
            scaling,
        })
    }
}

fn scaling_of(json: &Json) -> Result<Scaling, EngineError> {
    scaling(&Fields(json))
}

fn scaling(fields: &Fields<'_>) -> Result<Scaling, EngineError> {
    let kind = match fields.text("rope_type")? {
        Some(kind) => Some(kind),
        None => fields.text("type")?,
    };
    let factor = |name: &str| -> Result<f64, EngineError> {
        let number = fields.real(name)?.filter(|x| (0.001..=1e9).contains(x));
        number.ok_or_else(|| invalid(format!("`rope_scaling` has no usable `{name}`")))
    };
    Ok(match kind.as_deref() {
        None | Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear(factor("factor")?),
        Some("llama3") => Scaling::Llama3(Llama3 {
            factor: factor("factor")?,
            low: factor("low_freq_factor")?,
            high: factor("high_freq_factor")?,
            trained: factor("original_max_position_embeddings")?,
        }),
        Some(kind) => {
            return Err(unsupported(format!(
                "positions scaled by `{}` (`rope_scaling`); supported are `default`, `linear` and \
                 `llama3`",
                kind.escape_debug()
            )));
        }
    })
}

impl Llama3 {
    fn divisors(&self, base: f64, head_dim: u64) -> Result<Vec<f32>, EngineError> {
        if self.high <= self.low {
            return Err(invalid("`rope_scaling`: `high_freq_factor` is not over the low one"));
        }
        // The range is checked again with everything else; here it keeps the list short.
        if 1_024 < head_dim {
            return Err(invalid(format!("heads of {head_dim} cannot rotate")));
        }
        let divisor = |pair: u64| {
            let speed = base.powf(-2.0 * pair as f64 / head_dim as f64);
            let turns = self.trained * speed / std::f64::consts::TAU;
            if self.high < turns {
                1.0
            } else if turns < self.low {
                self.factor
            } else {
                let smooth = (turns - self.low) / (self.high - self.low);
                1.0 / ((1.0 - smooth) / self.factor + smooth)
            }
        };
        Ok((0..head_dim / 2).map(|pair| divisor(pair) as f32).collect())
    }
}

/// A number of a header; what does not fit 32 bits is no size of a model.
fn whole(n: u64) -> Result<Value, EngineError> {
    u32::try_from(n).map(Value::U32).map_err(|_| invalid(format!("{n} in `config.json`")))
}

/// The fields of an object, by the type that each must have. Null is as good as nothing.
pub(crate) struct Fields<'a>(pub(crate) &'a Json);

impl Fields<'_> {
    fn get<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<T>, EngineError> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => {
                let wrong = || invalid(format!("`{name}` in `config.json` is not {what}"));
                read(json).map(Some).ok_or_else(wrong)
            }
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, EngineError> {
        self.get(name, "a whole number", |json| {
            json.as_u64().or_else(|| {
                // Python writes some sizes as 256.0.
                json.as_f64()
                    .filter(|x| x.fract() == 0.0 && (0.0..1e15).contains(x))
                    .map(|x| x as u64)
            })
        })
    }

    pub(crate) fn count(&self, name: &str) -> Result<u64, EngineError> {
        let missing = || invalid(format!("`{name}` is missing in `config.json`"));
        self.number(name)?.ok_or_else(missing)
    }

    pub(crate) fn real(&self, name: &str) -> Result<Option<f64>, EngineError> {
        self.get(name, "a number", |json| json.as_f64().filter(|x| x.is_finite()))
    }

    pub(crate) fn truth(&self, name: &str) -> Result<Option<bool>, EngineError> {
        self.get(name, "true or false", Json::as_bool)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, EngineError> {
        self.get(name, "a string", |json| json.as_str().map(str::to_owned))
    }
}
