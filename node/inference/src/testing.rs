//! Small random models for tests, written as real files.

use std::io::Cursor;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// A model before it is a file. Change it, then [`file`](Self::file) it.
pub(crate) struct Tiny {
    pub(crate) values: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, Vec<usize>, GgmlDType)>,
}

pub(crate) const WIDTH: usize = 64;
pub(crate) const FFN: usize = 96;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const LAYERS: usize = 7;
pub(crate) const WINDOW: usize = 8;
pub(crate) const VOCAB: usize = 260;

/// The families whose graphs differ, each with what it alone has.
pub(crate) const FAMILIES: [&str; 5] = ["llama", "mistral", "qwen2", "qwen3", "gemma3"];

impl Tiny {
    /// A model of a family. Its heads are 16 wide, or 32 where they need not divide the width.
    pub(crate) fn new(family: &str) -> Self {
        let wide = matches!(family, "qwen3" | "gemma3");
        let head = if wide { 32 } else { WIDTH / HEADS };
        let own = |key: &str| format!("{family}.{key}");
        let number = |n: usize| Value::U32(n as u32);
        let mut values = vec![
            ("general.architecture".to_owned(), Value::String(family.to_owned())),
            (own("block_count"), number(LAYERS)),
            (own("context_length"), number(96)),
            (own("embedding_length"), number(WIDTH)),
            (own("feed_forward_length"), number(FFN)),
            (own("attention.head_count"), number(HEADS)),
            (own("attention.head_count_kv"), number(KV_HEADS)),
            (own("attention.layer_norm_rms_epsilon"), Value::F32(1e-6)),
            (own("rope.freq_base"), Value::F32(50_000.0)),
        ];
        if wide {
            values.push((own("attention.key_length"), number(head)));
            values.push((own("attention.value_length"), number(head)));
        }
        if matches!(family, "gemma3" | "mistral") {
            values.push((own("attention.sliding_window"), number(WINDOW)));
        }
        if family == "qwen2" {
            values.push((own("rope.scaling.type"), Value::String("linear".to_owned())));
            values.push((own("rope.scaling.factor"), Value::F32(4.0)));
        }
        values.extend(vocabulary());

        let mut tensors = Vec::new();
        let mut add = |name: &str, dims: &[usize]| {
            tensors.push((name.to_owned(), dims.to_vec(), GgmlDType::F32));
        };
        add("token_embd.weight", &[VOCAB, WIDTH]);
        add("output_norm.weight", &[WIDTH]);
        if matches!(family, "llama" | "qwen2") {
            add("output.weight", &[VOCAB, WIDTH]);
        }
        if family == "llama" {
            add("rope_freqs.weight", &[head / 2]);
        }
        for layer in 0..LAYERS {
            let mut at = |site: &str, dims: &[usize]| add(&format!("blk.{layer}.{site}"), dims);
            at("attn_norm.weight", &[WIDTH]);
            at("ffn_norm.weight", &[WIDTH]);
            at("attn_q.weight", &[HEADS * head, WIDTH]);
            at("attn_k.weight", &[KV_HEADS * head, WIDTH]);
            at("attn_v.weight", &[KV_HEADS * head, WIDTH]);
            at("attn_output.weight", &[WIDTH, HEADS * head]);
            at("ffn_gate.weight", &[FFN, WIDTH]);
            at("ffn_up.weight", &[FFN, WIDTH]);
            at("ffn_down.weight", &[WIDTH, FFN]);
            if family == "qwen2" {
                at("attn_q.bias", &[HEADS * head]);
                at("attn_k.bias", &[KV_HEADS * head]);
                at("attn_v.bias", &[KV_HEADS * head]);
            }
            if wide {
                at("attn_q_norm.weight", &[head]);
                at("attn_k_norm.weight", &[head]);
            }
            if family == "gemma3" {
                at("post_attention_norm.weight", &[WIDTH]);
                at("post_ffw_norm.weight", &[WIDTH]);
            }
        }
        Self { values, tensors }
    }

    /// Sets a value, or adds it.
    pub(crate) fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.values.retain(|(known, _)| known != key);
        self.values.push((key.to_owned(), value));
        self
    }

    /// The weights of a tensor: the same for the same name.
    pub(crate) fn weights(name: &str, dims: &[usize]) -> Vec<f32> {
        let mut state = name
            .bytes()
            .fold(7_u64, |state, byte| state.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        let n: usize = dims.iter().product();
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let dice = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                match dims.len() {
                    1 if name.contains(".bias") => dice,
                    1 => 1.0 + 0.3 * dice,
                    _ => dice * (3.0 / dims[1] as f32).sqrt() * 1.5,
                }
            })
            .collect()
    }

    /// The model as a file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let tensors: Vec<(&str, QTensor)> = self
            .tensors
            .iter()
            .map(|(name, dims, kind)| {
                let tensor =
                    Tensor::from_vec(Self::weights(name, dims), &dims[..], &Device::Cpu).unwrap();
                (name.as_str(), QTensor::quantize(&tensor, *kind).unwrap())
            })
            .collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let values: Vec<_> =
            self.values.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let mut file = Cursor::new(Vec::new());
        gguf_file::write(&mut file, &values, &tensors).unwrap();
        file.into_inner()
    }
}

/// Bytes, the space and three special tokens, as SentencePiece has them.
fn vocabulary() -> Vec<(String, Value)> {
    let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let tokens = tokens.chain((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let tokens = tokens.chain(["\u{2581}".to_owned()]).map(Value::String).collect();
    let roles = [2, 3, 3].into_iter().chain([6; 256]).chain([1]).map(Value::I32).collect();
    vec![
        ("tokenizer.ggml.model".into(), Value::String("llama".to_owned())),
        ("tokenizer.ggml.tokens".into(), Value::Array(tokens)),
        ("tokenizer.ggml.scores".into(), Value::Array(vec![Value::F32(0.0); VOCAB])),
        ("tokenizer.ggml.token_type".into(), Value::Array(roles)),
        ("tokenizer.ggml.bos_token_id".into(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(2)),
        ("tokenizer.ggml.add_space_prefix".into(), Value::Bool(false)),
    ]
}

/// A tokenizer of bytes with the special tokens of ChatML.
pub(crate) fn chat_tokenizer() -> crate::tokenizer::Tokenizer {
    let mut tiny = Tiny::new("llama");
    let added = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>"];
    let mut tokens: Vec<Value> =
        match &tiny.values.iter().find(|(k, _)| k == "tokenizer.ggml.tokens") {
            Some((_, Value::Array(tokens))) => tokens.clone(),
            _ => Vec::new(),
        };
    tokens.extend(added.map(|text| Value::String(text.to_owned())));
    let roles = [2, 3, 3].into_iter().chain([6; 256]).chain([1, 3, 3, 4, 4, 4]).map(Value::I32);
    let scores = vec![Value::F32(0.0); tokens.len()];
    tiny.set("tokenizer.ggml.tokens", Value::Array(tokens))
        .set("tokenizer.ggml.scores", Value::Array(scores))
        .set("tokenizer.ggml.token_type", Value::Array(roles.collect()));
    let header = crate::read_header(&mut Cursor::new(tiny.file())).unwrap().0;
    crate::tokenizer::Tokenizer::read(&header).unwrap()
}

/// Where a model is that a script fetches: what a variable says, or a name in the tests' cache.
pub(crate) fn cached(variable: &str, name: &str) -> Option<std::path::PathBuf> {
    use std::path::PathBuf;
    let cache = || {
        let cache = std::env::var_os("HIVE_TEST_CACHE").map(PathBuf::from);
        cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/hive-test")))
    };
    std::env::var_os(variable).map(PathBuf::from).or_else(|| Some(cache()?.join(name)))
}
