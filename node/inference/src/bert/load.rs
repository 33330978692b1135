//! Reads an encoder from its directory, as strictly as a decoder.

use std::collections::BTreeMap;
use std::fs::File;

use hive_api::{EngineError, ModelInfo, ModelKind};
use serde_json::Value as Json;

use super::graph::{Graph, Layer, Norm};
use super::panels::Panels;
use super::wordpiece::WordPiece;
use super::{Bert, Pooling};
use crate::directory::names::{Change, Wanted};
use crate::directory::shape::Fields;
use crate::directory::shards::Tensor as Place;
use crate::directory::{Files, check, floats};
use crate::error::{invalid, unsupported};

/// Tensors that an encoder may have and that no vector is made of: numbers that count from 0, and
/// a layer on top of the first token that was trained for another task.
const IGNORED: [&str; 3] = ["embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"];

/// The sizes of an encoder, each in range.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    width: usize,
    ffn: usize,
    n_layers: usize,
    n_heads: usize,
    vocab: usize,
    positions: usize,
    kinds: usize,
}

pub(super) fn load(mut files: Files) -> Result<Bert, EngineError> {
    let config = files.config()?;
    let sizes = sizes(&config)?;
    let epsilon = Fields(&config).real("layer_norm_eps")?.unwrap_or(1e-12);
    let pooling = pooling(&mut files)?;
    let longest = match files.json("sentence_bert_config.json")? {
        Some(json) => Fields(&json).number("max_seq_length")?,
        None => None,
    };
    let max_tokens = longest.map_or(sizes.positions, |n| n as usize).min(sizes.positions);
    if max_tokens < 3 {
        return Err(invalid(format!("texts of {max_tokens} tokens (`max_seq_length`)")));
    }
    let tokenizer = WordPiece::new(&files.tokenizer()?, sizes.vocab as u64)?;

    let (shards, tensors) = files.tensors()?;
    let strip = |name: String| name.strip_prefix("bert.").map(str::to_owned).unwrap_or(name);
    let mut tensors: BTreeMap<String, Place> =
        tensors.into_iter().map(|(name, place)| (strip(name), place)).collect();
    for name in IGNORED {
        tensors.remove(name);
    }
    check(&tensors, &wanted(&sizes), false)?;
    let parameters = tensors.values().map(Place::n_elements).sum::<u64>();
    let mut source = Source { shards, tensors };

    let name = config.get("_name_or_path").and_then(Json::as_str).unwrap_or_default();
    let name = name.rsplit('/').next().filter(|name| !name.is_empty() && name.len() <= 256);
    let info = ModelInfo {
        architecture: "bert".to_owned(),
        name: name.map(str::to_owned),
        kind: ModelKind::Embed,
        template: None,
        parameters,
        context_length: max_tokens as u32,
        width: sizes.width as u32,
        vocab_size: sizes.vocab as u32,
        weight_bytes: 4 * parameters,
        bytes_per_token: 0,
    };
    Ok(Bert {
        info,
        graph: graph(&mut source, &sizes, epsilon as f32)?,
        tokenizer,
        pooling,
        max_tokens,
    })
}

fn sizes(config: &Json) -> Result<Sizes, EngineError> {
    let fields = Fields(config);
    let size = |name: &str, max: u64| -> Result<usize, EngineError> {
        let n = fields.count(name)?;
        if n == 0 || max < n {
            return Err(invalid(format!("`{name}` in `config.json` is {n}, at most {max}")));
        }
        Ok(n as usize)
    };
    for (name, expected) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
        if let Some(other) = fields.text(name)?.filter(|text| text != expected) {
            let other = other.escape_debug();
            return Err(unsupported(format!("an encoder with `{name}` `{other}`")));
        }
    }
    let sizes = Sizes {
        width: size("hidden_size", 16_384)?,
        ffn: size("intermediate_size", 65_536)?,
        n_layers: size("num_hidden_layers", 256)?,
        n_heads: size("num_attention_heads", 1_024)?,
        vocab: size("vocab_size", 1 << 20)?,
        positions: size("max_position_embeddings", 65_536)?,
        kinds: size("type_vocab_size", 1_024)?,
    };
    if !sizes.width.is_multiple_of(sizes.n_heads) {
        return Err(invalid(format!("{} heads do not divide {}", sizes.n_heads, sizes.width)));
    }
    Ok(sizes)
}

/// How sentence-transformers make one vector of many rows, from `1_Pooling/config.json`.
fn pooling(files: &mut Files) -> Result<Pooling, EngineError> {
    if let Some(modules) = files.json("modules.json")? {
        let known = ["Transformer", "Pooling", "Normalize"];
        let kinds = modules.as_array().into_iter().flatten();
        for kind in kinds.filter_map(|module| module.get("type")?.as_str()) {
            if !known.contains(&kind.rsplit('.').next().unwrap_or_default()) {
                let kind = kind.escape_debug();
                return Err(unsupported(format!("the step `{kind}` behind the encoder")));
            }
        }
    }
    let Some(json) = files.json("1_Pooling/config.json")? else { return Ok(Pooling::Mean) };
    let modes = json.as_object().into_iter().flatten();
    let on: Vec<&str> = modes
        .filter(|(name, value)| name.starts_with("pooling_mode_") && **value == Json::Bool(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match on[..] {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::First),
        _ => Err(unsupported(format!(
            "the pooling {on:?}; supported are the mean of all tokens and the first one"
        ))),
    }
}

/// Names of a layer's matrices with their sizes, and of its norms.
fn layer_sites(sizes: &Sizes) -> ([(&'static str, usize, usize); 6], [&'static str; 2]) {
    let Sizes { width, ffn, .. } = *sizes;
    let linear = [
        ("attention.self.query", width, width),
        ("attention.self.key", width, width),
        ("attention.self.value", width, width),
        ("attention.output.dense", width, width),
        ("intermediate.dense", width, ffn),
        ("output.dense", ffn, width),
    ];
    (linear, ["attention.output.LayerNorm", "output.LayerNorm"])
}

/// All tensors that an encoder must have.
fn wanted(sizes: &Sizes) -> Vec<Wanted> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        let shape = shape.iter().map(|&dim| dim as u64).collect();
        all.push(Wanted { from: name.clone(), to: name, shape, change: Change::None });
    };
    let norm = |name: &str, add: &mut dyn FnMut(String, &[usize])| {
        add(format!("{name}.weight"), &[sizes.width]);
        add(format!("{name}.bias"), &[sizes.width]);
    };
    add("embeddings.word_embeddings.weight".into(), &[sizes.vocab, sizes.width]);
    add("embeddings.position_embeddings.weight".into(), &[sizes.positions, sizes.width]);
    add("embeddings.token_type_embeddings.weight".into(), &[sizes.kinds, sizes.width]);
    norm("embeddings.LayerNorm", &mut add);
    let (linear, norms) = layer_sites(sizes);
    for layer in 0..sizes.n_layers {
        for (site, n_in, n_out) in linear {
            add(format!("encoder.layer.{layer}.{site}.weight"), &[n_out, n_in]);
            add(format!("encoder.layer.{layer}.{site}.bias"), &[n_out]);
        }
        for site in norms {
            norm(&format!("encoder.layer.{layer}.{site}"), &mut add);
        }
    }
    all
}

struct Source {
    shards: Vec<File>,
    tensors: BTreeMap<String, Place>,
}

impl Source {
    fn floats(&mut self, name: &str) -> Result<Vec<f32>, EngineError> {
        let place = self.tensors.get(name);
        let place = place.ok_or_else(|| invalid(format!("the tensor `{name}` is missing")))?;
        let numbers = floats(&mut self.shards[place.file], place)?;
        if numbers.iter().all(|x| x.is_finite()) {
            Ok(numbers)
        } else {
            Err(invalid(format!("`{name}` has weights that are not numbers")))
        }
    }

    fn norm(&mut self, name: &str) -> Result<Norm, EngineError> {
        let weight = self.floats(&format!("{name}.weight"))?;
        Ok(Norm { weight, bias: self.floats(&format!("{name}.bias"))? })
    }

    /// Joins layers that take the same rows, so that one product does for all.
    fn linear(&mut self, names: &[String], n_in: usize) -> Result<Panels, EngineError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(self.floats(&format!("{name}.weight"))?);
            bias.extend(self.floats(&format!("{name}.bias"))?);
        }
        Ok(Panels::new(n_in, &weight, &bias))
    }
}

fn graph(source: &mut Source, sizes: &Sizes, epsilon: f32) -> Result<Graph, EngineError> {
    let Sizes { width, ffn, .. } = *sizes;
    let words = source.floats("embeddings.word_embeddings.weight")?;
    let mut positions = source.floats("embeddings.position_embeddings.weight")?;
    let kinds = source.floats("embeddings.token_type_embeddings.weight")?;
    for row in positions.chunks_exact_mut(width) {
        row.iter_mut().zip(&kinds).for_each(|(x, kind)| *x += kind);
    }
    let layers = (0..sizes.n_layers)
        .map(|layer| {
            let at = |site: &str| format!("encoder.layer.{layer}.{site}");
            let mix = ["query", "key", "value"].map(|what| at(&format!("attention.self.{what}")));
            Ok(Layer {
                mix: source.linear(&mix, width)?,
                out: source.linear(&[at("attention.output.dense")], width)?,
                norm: source.norm(&at("attention.output.LayerNorm"))?,
                up: source.linear(&[at("intermediate.dense")], width)?,
                down: source.linear(&[at("output.dense")], ffn)?,
                last_norm: source.norm(&at("output.LayerNorm"))?,
            })
        })
        .collect::<Result<_, EngineError>>()?;
    let norm = source.norm("embeddings.LayerNorm")?;
    Ok(Graph { n_heads: sizes.n_heads, width, epsilon, words, positions, norm, layers })
}
