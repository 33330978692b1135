//! Byte-level BPE: GPT-2's way, with the splitting that each family has.
//!
//! A file names its splitting in `tokenizer.ggml.pre`. A name that is not in [`SPLITS`] is refused:
//! a wrong splitting gives plausible nonsense. The expressions are ours, never the file's.

use hive_api::EngineError;
use hive_protocol::gguf::Header;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::vocabulary::Vocabulary;
use crate::error::{invalid, unsupported};

pub(crate) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(crate) const DIGIT: &str = r"\p{N}";
const DEEPSEEK3: [&str; 3] = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

/// A way to cut text before its merges.
struct Splitting {
    /// What files call it.
    names: &'static [&'static str],
    /// Expressions that are applied one after another.
    expressions: &'static [&'static str],
    /// A stretch that is a token as a whole is not taken apart and merged again.
    whole_first: bool,
    /// Texts begin with the token for it, if the file does not say.
    begins: bool,
}

const SPLITS: [Splitting; 7] = [
    Splitting {
        names: &["gpt-2", "gpt2", "mpt", "olmo", "jais", "phi-2", "roberta-bpe"],
        expressions: &[GPT2],
        whole_first: false,
        begins: false,
    },
    Splitting {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"],
        expressions: &[LLAMA3],
        whole_first: true,
        begins: true,
    },
    Splitting {
        names: &["smaug-bpe", "dbrx"],
        expressions: &[LLAMA3],
        whole_first: false,
        begins: false,
    },
    Splitting {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"],
        expressions: &[QWEN2],
        whole_first: false,
        begins: false,
    },
    Splitting {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"],
        expressions: &[DIGIT, GPT2],
        whole_first: false,
        begins: false,
    },
    Splitting { names: &["tekken"], expressions: &[TEKKEN], whole_first: true, begins: true },
    Splitting {
        names: &["gpt-4o", "llama4", "kanana2"],
        expressions: &[GPT4O],
        whole_first: false,
        begins: false,
    },
];

/// DeepSeek's, apart because its expressions are a list.
const DEEPSEEK: Splitting = Splitting {
    names: &["deepseek-v3", "hunyuan-dense"],
    expressions: &DEEPSEEK3,
    whole_first: false,
    begins: false,
};

/// The name of the splitting that some expressions are, if it is a known one.
pub(crate) fn splitting(expressions: &[&str], whole_first: bool) -> Option<&'static str> {
    let mut known = SPLITS.iter().chain([&DEEPSEEK]);
    let found =
        known.find(|known| known.expressions == expressions && known.whole_first == whole_first);
    Some(found?.names[0])
}

/// A byte-level BPE.
#[derive(Debug)]
pub(super) struct Bpe {
    tokenizer: tokenizers::Tokenizer,
    begins: bool,
}

impl Bpe {
    pub(super) fn read(header: &Header, vocabulary: &Vocabulary) -> Result<Self, EngineError> {
        let known = || SPLITS.iter().chain([&DEEPSEEK]);
        let supported = || known().flat_map(|split| split.names).copied().collect::<Vec<_>>();
        let pre = header.str("tokenizer.ggml.pre").ok_or_else(|| {
            unsupported(format!(
                "the file does not say how its tokenizer splits text (`tokenizer.ggml.pre`); \
                 supported are {}",
                supported().join(", ")
            ))
        })?;
        let Some(splitting) = known().find(|split| split.names.contains(&pre)) else {
            return Err(unsupported(format!(
                "the tokenizer splits text like `{pre}`; supported are {}",
                supported().join(", ")
            )));
        };

        let merges = header
            .strings("tokenizer.ggml.merges")
            .ok_or_else(|| invalid("the value `tokenizer.ggml.merges` is missing"))?;
        let pair = |merge: &str| {
            // A merge may begin with a space of its own, so the separator is a later one.
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)?;
            Some((merge[..at].to_owned(), merge[at + 1..].to_owned()))
        };
        let merges = merges
            .iter()
            .map(|merge| {
                // The union of the two and each of them must be tokens, or the library panics.
                let (left, right) = pair(merge)?;
                let known = [&left, &right].map(|half| vocabulary.id(half).is_some()) == [true; 2]
                    && vocabulary.id(&format!("{left}{right}")).is_some();
                known.then_some((left, right))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| invalid("`tokenizer.ggml.merges` names what is not a token"))?;
        let mut vocab = Vocab::default();
        for (id, text) in vocabulary.texts().iter().enumerate() {
            vocab.entry(text.to_owned()).or_insert(id as u32);
        }
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(splitting.whole_first)
            .build()
            .map_err(|error| invalid(format!("the tokenizer: {error}")))?;

        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        for expression in splitting.expressions {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| EngineError::Compute { reason: error.to_string() })?;
            steps.push(split.into());
        }
        steps.push(ByteLevel::new(false, false, false).into());
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        match header.str("hive.tokenizer.normalizer") {
            None => {}
            Some("NFC") => {
                let normalizer = tokenizer.with_normalizer(Some(NFC));
                normalizer.map_err(|error| EngineError::Compute { reason: error.to_string() })?;
            }
            Some(_) => return Err(unsupported("the value `hive.tokenizer.normalizer`")),
        }
        Ok(Self { tokenizer, begins: splitting.begins })
    }

    /// Whether texts of this kind begin with a token of their own.
    pub(super) fn begins(&self) -> bool {
        self.begins
    }

    /// Adds the tokens of a text without special ones.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), EngineError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| EngineError::Compute { reason: format!("the tokenizer: {error}") })?;
        tokens.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// The bytes that a token stands for: each of its characters is one.
    pub(super) fn bytes(text: &str) -> Vec<u8> {
        let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
        bytes.unwrap_or_else(|| text.as_bytes().to_vec())
    }
}

/// The byte that a character stands for: itself if it is printable, else GPT-2 counted the others
/// from U+0100 on.
fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}
