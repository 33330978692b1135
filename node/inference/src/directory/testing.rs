//! Directories made of GGUF files, for tests: the converter's way backwards, written apart from the
//! way forwards, so that a mistake in one is not one in both.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;

use candle_core::quantized::ggml_file;
use hive_api::{
    Engine, EngineError, EngineOptions, GenerateRequest, Output, Part, Prompt, Sampling,
};
use hive_protocol::gguf::{Array, Header, Kind, Value};
use serde_json::{Value as Json, json};

/// A directory before it is files. Change it, then take its [`parts`](Self::parts).
pub(crate) struct Directory {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) config: Json,
    pub(crate) tokenizer: Json,
    /// Names, shapes and numbers.
    pub(crate) tensors: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
}

/// How [`Directory::save`] stores numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    BF16,
}

/// A file of some bytes.
pub(crate) fn part(path: &str, bytes: &[u8]) -> Part {
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("there is room");
    Part { path: path.to_owned(), file, gate: None }
}

/// Reads all tensors of a GGUF file in full precision.
pub(crate) fn dequantised(reader: &mut (impl Read + Seek)) -> (Header, BTreeMap<String, Vec<f32>>) {
    let (header, _) = crate::read_header(reader).expect("it is a GGUF file");
    let tensors = header.tensors.iter().map(|tensor| {
        let mut bytes = vec![0; tensor.byte_len().expect("its type is known") as usize];
        reader.seek(SeekFrom::Start(header.data_offset + tensor.offset)).expect("it is there");
        reader.read_exact(&mut bytes).expect("it is there");
        let kind = crate::weights::dtype(Kind::from_u32(tensor.kind).expect("it is known"));
        let dims: Vec<usize> = tensor.dims.iter().rev().map(|&dim| dim as usize).collect();
        let cpu = candle_core::Device::Cpu;
        let numbers = ggml_file::qtensor_from_ggml(kind.expect("known"), &bytes, dims, &cpu)
            .and_then(|tensor| tensor.dequantize(&cpu)?.flatten_all()?.to_vec1())
            .expect("candle reads it");
        (tensor.name.clone(), numbers)
    });
    let tensors = tensors.collect();
    (header, tensors)
}

impl Directory {
    /// Takes a GGUF file apart.
    pub(crate) fn of(gguf: &[u8]) -> Self {
        let (header, numbers) = dequantised(&mut Cursor::new(gguf));
        let family = header.architecture().expect("it has one").to_owned();
        let n = |key: &str| header.u32(&format!("{family}.{key}"));
        let real = |key: &str| header.f32(&format!("{family}.{key}"));
        let heads = n("attention.head_count").expect("heads");
        let key_heads = n("attention.head_count_kv").unwrap_or(heads);
        let head_dim = n("attention.key_length")
            .unwrap_or_else(|| n("embedding_length").expect("a width") / heads);
        let (model_type, class) = match family.as_str() {
            "gemma3" => ("gemma3_text", "Gemma3ForCausalLM"),
            "llama" => ("llama", "LlamaForCausalLM"),
            "mistral" => ("mistral", "MistralForCausalLM"),
            "qwen2" => ("qwen2", "Qwen2ForCausalLM"),
            _ => ("qwen3", "Qwen3ForCausalLM"),
        };
        let gemma = family == "gemma3";
        let mut config = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_size": n("embedding_length"),
            "intermediate_size": n("feed_forward_length"),
            "num_hidden_layers": n("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": key_heads,
            "head_dim": head_dim,
            "max_position_embeddings": n("context_length"),
            "rms_norm_eps": real("attention.layer_norm_rms_epsilon"),
            "rope_theta": real("rope.freq_base").unwrap_or(10_000.0),
            "sliding_window": n("attention.sliding_window"),
            "vocab_size": header.strings("tokenizer.ggml.tokens").expect("tokens").len(),
            "tie_word_embeddings": header.tensor("output.weight").is_none(),
            "eos_token_id": header.u32("tokenizer.ggml.eos_token_id"),
            "torch_dtype": "float32",
        });
        if gemma {
            config["hidden_activation"] = "gelu_pytorch_tanh".into();
            config["query_pre_attn_scalar"] = head_dim.into();
            config["rope_local_base_freq"] = 10_000.0.into();
            config["sliding_window_pattern"] = 6.into();
        } else {
            config["hidden_act"] = "silu".into();
        }
        if let Some(factor) = real("rope.scaling.factor") {
            config["rope_scaling"] = json!({"rope_type": "linear", "factor": factor});
        }

        let mut tensors = BTreeMap::new();
        for (name, mut numbers) in numbers {
            let dims = &header.tensor(&name).expect("it was read").dims;
            let shape: Vec<u64> = dims.iter().rev().copied().collect();
            if matches!(family.as_str(), "llama" | "mistral") {
                let width = if shape.len() == 2 { shape[1] as usize } else { 1 };
                if name.contains("attn_q.") {
                    numbers = apart(&numbers, heads as usize, width);
                } else if name.contains("attn_k.") {
                    numbers = apart(&numbers, key_heads as usize, width);
                }
            }
            if gemma && name.ends_with("norm.weight") {
                for x in &mut numbers {
                    *x -= 1.0;
                }
            }
            tensors.insert(theirs(&name, gemma), (shape, numbers));
        }
        Self { files: BTreeMap::new(), config, tokenizer: tokenizer(&header), tensors }
    }

    /// Writes the tensors into so many shards; one is a file without an index.
    pub(crate) fn save(&mut self, stored: Stored, n_shards: usize) {
        let names: Vec<String> = self.tensors.keys().cloned().collect();
        let mut map = serde_json::Map::new();
        for (at, names) in names.chunks(names.len().div_ceil(n_shards)).enumerate() {
            let file = match n_shards {
                1 => "model.safetensors".to_owned(),
                n => format!("model-{:05}-of-{n:05}.safetensors", at + 1),
            };
            let tensors = names.iter().map(|name| (name.as_str(), &self.tensors[name]));
            self.files.insert(file.clone(), safetensors(tensors, stored));
            for name in names {
                map.insert(name.clone(), file.clone().into());
            }
        }
        if 1 < n_shards {
            let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
            self.files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
        }
    }

    /// The model as open files.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> =
            self.files.iter().map(|(path, bytes)| part(path, bytes)).collect();
        parts.push(part("config.json", self.config.to_string().as_bytes()));
        parts.push(part("tokenizer.json", self.tokenizer.to_string().as_bytes()));
        parts
    }
}

/// Puts the two of each pair half a head apart.
fn apart(rows: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head_dim = rows.len() / width / heads;
    let mut out = vec![0.0; rows.len()];
    for head in 0..heads {
        for pair in 0..head_dim / 2 {
            for which in 0..2 {
                let from = head * head_dim + 2 * pair + which;
                let to = head * head_dim + which * head_dim / 2 + pair;
                out[to * width..][..width].copy_from_slice(&rows[from * width..][..width]);
            }
        }
    }
    out
}

fn theirs(name: &str, gemma: bool) -> String {
    let name = match name {
        "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
        "output.weight" => return "lm_head.weight".to_owned(),
        "output_norm.weight" => return "model.norm.weight".to_owned(),
        name => name.replace("blk.", "model.layers."),
    };
    let ffn_norm = if gemma { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
    [
        ("attn_norm", "input_layernorm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("ffn_norm", ffn_norm),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("attn_q.", "self_attn.q_proj."),
        ("attn_k.", "self_attn.k_proj."),
        ("attn_v.", "self_attn.v_proj."),
        ("attn_output.", "self_attn.o_proj."),
        ("ffn_gate.", "mlp.gate_proj."),
        ("ffn_up.", "mlp.up_proj."),
        ("ffn_down.", "mlp.down_proj."),
    ]
    .iter()
    .find(|(ours, _)| name.contains(ours))
    .map(|(ours, theirs)| name.replace(ours, theirs))
    .expect("every tensor has a name there")
}

/// A safetensors file.
pub(crate) fn safetensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a (Vec<u64>, Vec<f32>))>,
    stored: Stored,
) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, numbers)) in tensors {
        let start = data.len();
        for x in numbers {
            match stored {
                Stored::F32 => data.extend(x.to_le_bytes()),
                Stored::BF16 => data.extend(&x.to_le_bytes()[2..]),
            }
        }
        let dtype = format!("{stored:?}");
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    file_of(&Json::Object(header).to_string(), &data)
}

/// A safetensors file with any header.
pub(crate) fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// The tokenizer of a SentencePiece vocabulary, as Transformers convert it: every way to make a
/// token of two others is a merge, the best score first.
pub(crate) fn tokenizer(header: &Header) -> Json {
    let tokens: Vec<String> = header
        .strings("tokenizer.ggml.tokens")
        .expect("tokens")
        .iter()
        .map(str::to_owned)
        .collect();
    let Some(Array::F32(scores)) = header.array("tokenizer.ggml.scores") else { panic!("scores") };
    let Some(Array::I32(roles)) = header.array("tokenizer.ggml.token_type") else {
        panic!("roles")
    };
    // Spaces stand there as marks.
    let text = |id: usize| match (roles[id], tokens[id].trim_matches(' ')) {
        (4, "") => tokens[id].replace(' ', "\u{2581}"),
        _ => tokens[id].clone(),
    };
    let vocab: BTreeMap<String, usize> = (0..tokens.len()).map(|id| (text(id), id)).collect();
    let merged = |id: usize| matches!(roles[id], 1 | 4);
    let mut merges = Vec::new();
    for id in (0..tokens.len()).filter(|&id| merged(id)) {
        let whole = text(id);
        for (at, _) in whole.char_indices().skip(1) {
            let (left, right) = whole.split_at(at);
            if let (Some(&l), Some(&r)) = (vocab.get(left), vocab.get(right))
                && merged(l)
                && merged(r)
            {
                // What is cut out first, by length; then the best score.
                let key = match roles[id] {
                    4 => (0, -(whole.len() as f64)),
                    _ => (1, -f64::from(scores[id])),
                };
                merges.push((key, id, l, r, [left.to_owned(), right.to_owned()]));
            }
        }
    }
    merges.sort_by(|a, b| {
        a.0.0.cmp(&b.0.0).then(a.0.1.total_cmp(&b.0.1)).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)))
    });
    let merges: Vec<[String; 2]> = merges.into_iter().map(|merge| merge.4).collect();
    let added = (0..tokens.len()).filter(|&id| matches!(roles[id], 2..=4)).map(|id| {
        json!({"id": id, "content": text(id), "special": roles[id] != 4, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    });
    let begin = header.u32("tokenizer.ggml.bos_token_id").expect("a beginning");
    let begin_text = &tokens[begin as usize];
    let unknown = roles.iter().position(|&role| role == 2).map(|id| tokens[id].clone());
    json!({
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": false},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": begin_text, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {begin_text: {"id": begin_text, "ids": [begin], "tokens": [begin_text]}}
        },
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                  "byte_fallback": true, "vocab": vocab, "merges": merges}
    })
}

/// Takes values for a header without weights.
pub(crate) fn header_of(values: &[(String, Value)]) -> Header {
    crate::read_header(&mut Cursor::new(crate::writer::header(values, &[]))).expect("a header").0
}

/// Loads a model of several files.
pub(crate) fn load(parts: Vec<Part>) -> Result<Box<dyn Engine>, EngineError> {
    crate::load(parts, &EngineOptions::default())
}

/// The likeliest continuation.
pub(crate) fn continuation(engine: &mut dyn Engine, prompt: &str, max_tokens: u32) -> String {
    let request = GenerateRequest {
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateRequest::new(Prompt::Text(prompt.to_owned()))
    };
    engine.begin(1, request).expect("there is a place");
    let mut text = String::new();
    // A step is a token or a stretch of the prompt; there cannot be more.
    for _ in 0..2 * max_tokens as usize + prompt.len() + 8 {
        let mut outputs = Vec::new();
        engine.step(&mut outputs);
        for (_, output) in outputs {
            match output {
                Output::Piece(piece) => text.push_str(&piece.text),
                Output::Done(_) => return text,
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the text does not end: {text}")
}

/// A progress that goes on.
pub(crate) fn on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Opens the real Gemma, if `scripts/get-gemma.sh` was run.
#[expect(clippy::print_stderr, reason = "a test that checks nothing has to say so")]
pub(crate) fn gemma() -> Option<File> {
    let path = crate::testing::cached("HIVE_GEMMA", "gemma-3-270m-q4_k_m.gguf")?;
    let file = File::open(&path);
    if file.is_err() {
        eprintln!("SKIPPED: no {}; scripts/get-gemma.sh fetches it", path.display());
    }
    file.ok()
}
