//! Models that are several files: safetensors with `config.json` and `tokenizer.json`.
//!
//! A decoder of our families is shown to the rest of this crate as the GGUF file that a converter
//! would have made of it ([`view`]): one format to check, to load and to quantise. What GGUF has no
//! word for and the graph does not compute refuses the model by the name of the field, the step or
//! the tensor.
//!
//! Files are found by their names at the root of the tree. Names inside of files (an index's) are
//! looked up among those and never opened as paths.
//!
//! Invariant: every tensor that the graph will use is there once, with the shape that it will be
//! used in, and no other is but those of [`names::ignored`].

pub(crate) mod names;
pub(crate) mod shape;
pub(crate) mod shards;
pub(crate) mod view;
pub(crate) mod vocabulary;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use hive_api::{EngineError, Gated, Part};
use hive_protocol::gguf::{Kind, Value};
use serde_json::Value as Json;

use crate::error::{invalid, unsupported};
use crate::{config, validate, writer};
use names::{Change, Wanted};
use shards::{Dtype, Tensor};
use view::{Bytes, View};
use vocabulary::Sidecar;

/// Bytes of a small file of JSON at most.
const MAX_CONFIG: u64 = 1 << 20;
/// Bytes of an index at most.
const MAX_INDEX: u64 = 16 << 20;
/// Bytes of a chat template at most, as in GGUF.
const MAX_TEMPLATE: usize = 256 << 10;

/// A model's files, told apart.
#[derive(Debug)]
pub(crate) enum Opened {
    /// One GGUF file, which may still be arriving.
    Gguf(Gated),
    /// A decoder in a directory, as its GGUF file.
    Decoder(View),
    /// An encoder in a directory.
    Encoder(Files),
}

/// Tells by the files' names what a model is, and reads everything but its weights.
pub(crate) fn open(parts: Vec<Part>) -> Result<Opened, EngineError> {
    let has = |test: &dyn Fn(&str) -> bool| parts.iter().filter(|part| test(&part.path)).count();
    let n_gguf = has(&|path| path.to_ascii_lowercase().ends_with(".gguf"));
    let is_directory =
        has(&|path| path == CONFIG) == 1 && 0 < has(&|path| path.ends_with(".safetensors"));
    if !is_directory {
        let mut ours = parts;
        if 1 < ours.len() {
            ours.retain(|part| part.path.to_ascii_lowercase().ends_with(".gguf"));
        }
        return match (n_gguf, ours.pop()) {
            (0 | 1, Some(part)) if !is_split(&part.path) => Ok(Opened::Gguf(part.reader())),
            (0, _) => Err(unsupported(
                "the directory has neither a GGUF file nor `config.json` with safetensors; weights \
                 in pickles (`.bin`, `.pt`, `.ckpt`) are never loaded",
            )),
            _ => Err(unsupported(
                "several GGUF files; name one of them, and join a model that is split into parts",
            )),
        };
    }
    if parts.iter().any(|part| part.gate.is_some()) {
        return Err(unsupported("a directory of safetensors is loaded when it is whole"));
    }
    let mut files = Files::new(parts);
    let config = files.config()?;
    if config.get("model_type").and_then(Json::as_str) == Some("bert") {
        return Ok(Opened::Encoder(files));
    }
    decoder(files, &config).map(Opened::Decoder)
}

/// Whether a name is that of a part of a model, as llama.cpp splits them: `m-00001-of-00003.gguf`.
fn is_split(path: &str) -> bool {
    let digits = |text: &[u8]| text.len() == 5 && text.iter().all(u8::is_ascii_digit);
    path.match_indices("-of-").any(|(at, _)| {
        let bytes = path.as_bytes();
        at.checked_sub(5).and_then(|start| bytes.get(start..at)).is_some_and(digits)
            && bytes.get(at + 4..at + 9).is_some_and(digits)
    })
}

const CONFIG: &str = "config.json";

/// The files of a directory by their names.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<String, File>);

impl Files {
    fn new(parts: Vec<Part>) -> Self {
        Self(parts.into_iter().map(|part| (part.path, part.file)).collect())
    }

    /// Reads a file whole, if it is there.
    pub(crate) fn read(&mut self, name: &str, max: u64) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(file) = self.0.get_mut(name) else { return Ok(None) };
        file.seek(SeekFrom::Start(0)).map_err(EngineError::Io)?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes).map_err(EngineError::Io)?;
        if max < bytes.len() as u64 {
            return Err(invalid(format!("`{name}` is longer than {max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Reads a small file of JSON, if it is there.
    pub(crate) fn json(&mut self, name: &str) -> Result<Option<Json>, EngineError> {
        let Some(bytes) = self.read(name, MAX_CONFIG)? else { return Ok(None) };
        let json = serde_json::from_slice(&bytes);
        json.map(Some).map_err(|error| invalid(format!("`{name}`: {error}")))
    }

    /// Reads `config.json`.
    pub(crate) fn config(&mut self) -> Result<Json, EngineError> {
        self.json(CONFIG)?.ok_or_else(|| invalid("`config.json` is missing"))
    }

    /// Reads `tokenizer.json`.
    pub(crate) fn tokenizer(&mut self) -> Result<vocabulary::TokenizerJson, EngineError> {
        let json = self.read("tokenizer.json", vocabulary::MAX_LEN)?;
        let json = json.ok_or_else(|| {
            unsupported(
                "the directory has no `tokenizer.json`; Transformers writes one with \
                 `AutoTokenizer.from_pretrained(…).save_pretrained(…)`",
            )
        })?;
        vocabulary::parse(&json)
    }

    /// Finds the tensors, and hands over the files that have them.
    pub(crate) fn tensors(&mut self) -> Result<(Vec<File>, BTreeMap<String, Tensor>), EngineError> {
        const INDEX: &str = "model.safetensors.index.json";
        let index = self.read(INDEX, MAX_INDEX)?.map(|json| shards::index(&json)).transpose()?;
        let mut names: Vec<String> = match &index {
            Some(index) => index.values().cloned().collect(),
            None => vec!["model.safetensors".to_owned()],
        };
        names.sort_unstable();
        names.dedup();
        let take = |name: &String| {
            let missing = || invalid(format!("the directory has no `{}`", name.escape_debug()));
            self.0.remove(name).ok_or_else(missing)
        };
        let mut files = names.iter().map(take).collect::<Result<Vec<_>, _>>()?;
        let tensors = shards::read_all(&mut files, &names)?;
        if let Some(index) = &index {
            let agrees = index.len() == tensors.len()
                && tensors.iter().all(|(name, tensor)| index.get(name) == names.get(tensor.file));
            if !agrees {
                return Err(invalid(format!("`{INDEX}` does not say what the shards have")));
            }
        }
        Ok((files, tensors))
    }

    fn sidecar(&mut self, config_ends: Vec<u32>) -> Result<Sidecar, EngineError> {
        let settings = self.json("tokenizer_config.json")?.unwrap_or_default();
        let special = self.json("special_tokens_map.json")?.unwrap_or_default();
        let token = |key: &str| {
            let found = [&settings, &special].into_iter().find_map(|json| json.get(key))?;
            let text = found.as_str().or_else(|| found.get("content")?.as_str())?;
            Some(text.to_owned())
        };
        let mut ends = config_ends;
        if let Some(generation) = self.json("generation_config.json")? {
            ends.extend(shape::ends(&generation)?);
        }
        let template = match self.read("chat_template.jinja", MAX_TEMPLATE as u64)? {
            Some(bytes) => Some(
                String::from_utf8(bytes)
                    .map_err(|_| invalid("`chat_template.jinja` is not UTF-8"))?,
            ),
            None => template(&settings),
        };
        if template.as_ref().is_some_and(|template| MAX_TEMPLATE < template.len()) {
            return Err(invalid(format!("a chat template of over {MAX_TEMPLATE} bytes")));
        }
        Ok(Sidecar {
            begin: token("bos_token"),
            end: token("eos_token"),
            ends,
            adds_begin: settings.get("add_bos_token").and_then(Json::as_bool),
            template,
        })
    }
}

/// The template in `tokenizer_config.json`: a string, or a list of which one is the default.
fn template(settings: &Json) -> Option<String> {
    let template = settings.get("chat_template")?;
    let chosen = template.as_str().or_else(|| {
        let default = |one: &&Json| one.get("name").and_then(Json::as_str) == Some("default");
        template.as_array()?.iter().find(default)?.get("template")?.as_str()
    });
    chosen.map(str::to_owned)
}

/// Shows a decoder as its GGUF file.
fn decoder(mut files: Files, json: &Json) -> Result<View, EngineError> {
    let shape = shape::read(json)?;
    let name = json.get("_name_or_path").and_then(Json::as_str).unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let mut values = shape.values.clone();
    if !name.is_empty() && name.len() <= 256 {
        values.push(("general.name".to_owned(), Value::Str(name.to_owned())));
    }
    let tokenizer = files.tokenizer()?;
    let sidecar = files.sidecar(shape.ends.clone())?;
    values.extend(vocabulary::values(&tokenizer, &sidecar, shape.vocab)?);
    drop(tokenizer);

    // The same ranges as for any other file.
    let header = crate::read_header(&mut Cursor::new(writer::header(&values, &[])))?.0;
    let config = config::recognise(&header)?;

    let (mut shards, tensors) = files.tensors()?;
    let wanted = names::wanted(&config, shape.biases, shape.tied);
    check(&tensors, &wanted, shape.tied)?;
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    for wanted in &wanted {
        let tensor = &tensors[&wanted.from];
        let (kind, bytes) = content(&mut shards, wanted, tensor)?;
        let dims = wanted.shape.iter().rev().copied().collect();
        entries.push(writer::Entry { name: wanted.to.clone(), dims, kind });
        contents.push(bytes);
    }
    if let Some(divisors) = &shape.divisors {
        let dims = vec![divisors.len() as u64];
        entries.push(writer::Entry { name: "rope_freqs.weight".into(), dims, kind: Kind::F32 });
        contents.push(given(divisors));
    }
    let file_type = match entries.first().map(|table| table.kind) {
        Some(Kind::F16) => 1,
        Some(Kind::BF16) => 32,
        _ => 0,
    };
    values.push(("general.file_type".to_owned(), Value::U32(file_type)));
    let (infos, _) = writer::lay_out(&entries).ok_or_else(|| invalid("the tensors' sizes"))?;
    let header = writer::header(&values, &infos);
    let start = header.len() as u64;
    let mut stretches = vec![(0, Bytes::Given(header))];
    stretches.extend(infos.iter().zip(contents).map(|(info, bytes)| (start + info.offset, bytes)));
    let mut view = View::new(shards, stretches);
    // What was made here is held to the rules of a file from anywhere else.
    let (header, len) = crate::read_header(&mut view)?;
    validate::tensors(&header, &config, len)?;
    Ok(view)
}

/// Holds what is there against what the graph uses.
pub(crate) fn check(
    tensors: &BTreeMap<String, Tensor>,
    wanted: &[Wanted],
    tied: bool,
) -> Result<(), EngineError> {
    for wanted in wanted {
        let name = &wanted.from;
        let Some(tensor) = tensors.get(name) else {
            return Err(invalid(format!("the tensor `{name}` is missing")));
        };
        if tensor.shape != wanted.shape {
            let (shape, expected) = (&tensor.shape, &wanted.shape);
            return Err(invalid(format!("`{name}` is {shape:?}, expected {expected:?}")));
        }
        if let Dtype::Other(_) = tensor.dtype {
            return Err(unsupported(format!(
                "`{name}` is neither F32 nor F16 nor BF16; convert the model, or take one that \
                 was not quantised by a Python tool"
            )));
        }
    }
    let mut known: Vec<&str> = wanted.iter().map(|wanted| wanted.from.as_str()).collect();
    known.sort_unstable();
    for name in tensors.keys() {
        if known.binary_search(&name.as_str()).is_err() && !names::ignored(name, tied) {
            let name = name.escape_debug();
            return Err(unsupported(format!(
                "the tensor `{name}` has no place in a model of this kind"
            )));
        }
    }
    Ok(())
}

/// What stands in the file for a tensor. Vectors are small and become F32, as in every GGUF file.
fn content(
    shards: &mut [File],
    wanted: &Wanted,
    tensor: &Tensor,
) -> Result<(Kind, Bytes), EngineError> {
    let Tensor { file, offset, dtype, .. } = *tensor;
    let kind = match dtype {
        Dtype::F32 => Kind::F32,
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::BF16,
        Dtype::Other(_) => return Err(unsupported(format!("the type of `{}`", wanted.from))),
    };
    let len = tensor.n_elements() * dtype.n_bytes();
    match (wanted.shape.as_slice(), wanted.change) {
        ([_], change) => {
            let mut vector = floats(&mut shards[file], tensor)?;
            match change {
                Change::None => {}
                Change::PlusOne => vector.iter_mut().for_each(|x| *x += 1.0),
                Change::Interleave(heads) => vector = interleave(&vector, heads),
            }
            Ok((Kind::F32, given(&vector)))
        }
        (&[n_rows, width], Change::Interleave(heads)) => {
            let (row_len, n_heads) = (width * dtype.n_bytes(), heads as u64);
            Ok((kind, Bytes::Interleaved { file, offset, row_len, n_rows, n_heads }))
        }
        _ => Ok((kind, Bytes::Stored { file, offset, len })),
    }
}

/// Reads a tensor's numbers. Its size was checked against its file.
pub(crate) fn floats(file: &mut File, tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    let len = tensor.n_elements() * tensor.dtype.n_bytes();
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| invalid("a tensor is too long"))?];
    file.seek(SeekFrom::Start(tensor.offset)).map_err(EngineError::Io)?;
    file.read_exact(&mut bytes).map_err(EngineError::Io)?;
    Ok(match tensor.dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => {
            bytes.as_chunks().0.iter().map(|&[a, b]| crate::arithmetic::half(a, b)).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|&[a, b]| f32::from_le_bytes([0, 0, a, b])).collect()
        }
        Dtype::Other(_) => return Err(unsupported("a tensor that is not of numbers")),
    })
}

/// Puts the pairs of each head side by side.
fn interleave(vector: &[f32], heads: usize) -> Vec<f32> {
    let half = vector.len() / heads / 2;
    let head =
        |head: &[f32]| (0..2 * half).map(|at| head[at % 2 * half + at / 2]).collect::<Vec<_>>();
    vector.chunks_exact(2 * half).flat_map(head).collect()
}

fn given(vector: &[f32]) -> Bytes {
    Bytes::Given(vector.iter().flat_map(|x| x.to_le_bytes()).collect())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
