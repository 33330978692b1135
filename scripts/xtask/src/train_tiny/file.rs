//! The trained model as a file, and the card beside it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};

use super::corpus::Corpus;
use super::model::{
    BEGIN, CONTEXT, EPSILON, FFN, FIRST_BYTE, HEADS, LAYERS, Model, ROPE_BASE, VOCAB, WIDTH,
};

/// Bytes that the committed file may have.
const MAX_LEN: u64 = 4 << 20;
/// `general.file_type` of a file that is mostly Q8_0.
const FILE_TYPE_Q8_0: u32 = 7;

/// What the card says.
pub(super) struct Card<'a> {
    pub(super) steps: usize,
    pub(super) seed: u64,
    pub(super) corpus: &'a Corpus,
    pub(super) loss: f32,
    pub(super) held_out: f32,
}

/// Writes the file and its card; returns the file's length.
pub(super) fn write(model: &Model, card: &Card<'_>, out: &Path) -> anyhow::Result<u64> {
    let mut tensors = Vec::new();
    let mut n_weights = 0;
    for (name, tensor) in model.weights() {
        let kind = if tensor.rank() == 1 { GgmlDType::F32 } else { GgmlDType::Q8_0 };
        tensors.push((name, QTensor::quantize(tensor, kind)?));
        n_weights += tensor.elem_count();
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let metadata = metadata();
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (*name, value)).collect();

    let dir = out.parent().context("the file has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    let mut file = BufWriter::new(file);
    gguf_file::write(&mut file, &metadata, &tensors)?;
    file.flush()?;
    let n_bytes = fs::metadata(out)?.len();
    ensure!(n_bytes <= MAX_LEN, "the model has {n_bytes} bytes, more than a repository should");
    fs::write(out.with_extension("md"), text(card, n_weights, n_bytes))?;
    Ok(n_bytes)
}

fn metadata() -> Vec<(&'static str, Value)> {
    let number = |n: usize| Value::U32(n as u32);
    let string = |text: &str| Value::String(text.to_owned());
    let byte = |byte: u32| format!("<0x{byte:02X}>");
    let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let tokens = tokens.chain((0..256).map(byte)).chain(["\u{2581}".to_owned()]);
    // Unknown, control, control, bytes, a normal one: llama.cpp's numbers.
    let roles = [2, 3, 3].into_iter().chain([6; 256]).chain([1]);
    vec![
        ("general.architecture", string("llama")),
        ("general.name", string("tiny-hive")),
        ("general.license", string("MIT OR Apache-2.0")),
        ("general.file_type", Value::U32(FILE_TYPE_Q8_0)),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(CONTEXT)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.feed_forward_length", number(FFN)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(EPSILON)),
        ("llama.rope.dimension_count", number(WIDTH / HEADS)),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE)),
        ("llama.vocab_size", number(VOCAB)),
        ("tokenizer.ggml.model", string("llama")),
        ("tokenizer.ggml.pre", string("default")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.map(Value::String).collect())),
        ("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.0); VOCAB])),
        ("tokenizer.ggml.token_type", Value::Array(roles.map(Value::I32).collect())),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
        ("tokenizer.ggml.bos_token_id", Value::U32(BEGIN)),
        ("tokenizer.ggml.eos_token_id", Value::U32(FIRST_BYTE - 1)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
    ]
}

fn text(card: &Card<'_>, n_weights: usize, n_bytes: u64) -> String {
    let Card { steps, seed, corpus, loss, held_out } = card;
    let n_corpus = corpus.n_bytes();
    format!(
        "# tiny-hive

A language model of {n_weights} weights, trained from nothing on this repository's own documents. It
is here so that a fresh clone can show the whole path, from `hive add` to text, and so that the
tests run a real model without a download.

It writes lines that look like this project's documentation. They mean nothing, and it knows
nothing: do not ask it questions, do not build on it.

| | |
|---|---|
| architecture | llama: {LAYERS} layers, width {WIDTH}, {HEADS} heads, feed-forward {FFN} |
| tokens | the 256 bytes, and the space |
| context | {CONTEXT} tokens |
| weights | Q8_0, norms F32; {n_bytes} bytes |
| trained on | {n_corpus} bytes: the Markdown and the doc comments of this repository |
| training | {steps} steps of AdamW, seed {seed}; `cargo xtask train-tiny` makes it again |
| loss | {loss:.2} nats a byte at the end, {held_out:.2} on the last twentieth, which it never read |
| licence | MIT OR Apache-2.0, as the text that it was trained on |
"
    )
}
