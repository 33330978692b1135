//! Text to tokens, as BERT has them: words, and the longest pieces of words that are known.
//!
//! Built from the fields of `tokenizer.json`, of which none is an expression; what the file says of
//! truncation and padding is left alone.

use std::fmt;

use hive_api::EngineError;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

use crate::directory::vocabulary::TokenizerJson;
use crate::error::{invalid, unsupported};

/// Bytes of a text that are looked at: far more than fit the longest text of a model.
const MAX_TEXT: usize = 64 << 10;

/// The tokenizer of an encoder.
pub(super) struct WordPiece {
    tokenizer: Tokenizer,
    /// Stand before and behind every text.
    around: [u32; 2],
}

impl fmt::Debug for WordPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordPiece").field("around", &self.around).finish()
    }
}

impl WordPiece {
    /// Takes the tokenizer of a file, for a model of `n_tokens`.
    pub(super) fn new(file: &TokenizerJson, n_tokens: u64) -> Result<Self, EngineError> {
        let model = &file.model;
        if model.kind.as_deref() != Some("WordPiece") {
            return Err(unsupported("an encoder whose tokenizer is not `WordPiece`"));
        }
        let mut vocab = Vocab::default();
        for (text, &id) in &model.vocab.0 {
            let id = u32::try_from(id).ok().filter(|&id| u64::from(id) < n_tokens);
            let id = id.ok_or_else(|| invalid(format!("`{}` has no row", text.escape_debug())))?;
            vocab.insert(text.clone(), id);
        }
        let token = |text: &str| -> Result<u32, EngineError> {
            let missing = || invalid(format!("the tokenizer has no `{}`", text.escape_debug()));
            vocab.get(text).copied().ok_or_else(missing)
        };
        let unknown = model.unk_token.as_deref().unwrap_or("[UNK]");
        token(unknown)?;
        let around = [token("[CLS]")?, token("[SEP]")?];

        let normalizer = file.normalizer.as_ref().filter(|step| step.kind == "BertNormalizer");
        let splits = file.pre_tokenizer.as_ref().filter(|step| step.kind == "BertPreTokenizer");
        let (Some(normalizer), Some(_)) = (normalizer, splits) else {
            return Err(unsupported(
                "an encoder whose tokenizer does other than `BertNormalizer` and \
                 `BertPreTokenizer`",
            ));
        };
        let lowercase = normalizer.lowercase.unwrap_or(true);
        let normalizer = BertNormalizer::new(
            normalizer.clean_text.unwrap_or(true),
            normalizer.handle_chinese_chars.unwrap_or(true),
            normalizer.strip_accents,
            lowercase,
        );
        let longest = model.max_input_chars_per_word.unwrap_or(100).min(1_000) as usize;
        let broken = |error: tokenizers::Error| invalid(format!("the tokenizer: {error}"));
        let model = wordpiece::WordPiece::builder()
            .vocab(vocab)
            .unk_token(unknown.to_owned())
            .continuing_subword_prefix(
                model.continuing_subword_prefix.clone().unwrap_or_else(|| "##".to_owned()),
            )
            .max_input_chars_per_word(longest)
            .build()
            .map_err(broken)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(normalizer)).map_err(broken)?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        let special = file.added_tokens.iter().filter(|added| {
            // The library would number an unknown one by itself.
            added.special && file.model.vocab.0.get(&added.content) == Some(&added.id)
        });
        let special = special.map(|added| AddedToken::from(added.content.clone(), true));
        tokenizer.add_special_tokens(special.collect::<Vec<_>>()).map_err(broken)?;
        Ok(Self { tokenizer, around })
    }

    /// Returns the tokens of a text, at most so many, with those that stand around it.
    pub(super) fn encode(&self, text: &str, max: usize) -> Result<Vec<u32>, EngineError> {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| EngineError::Compute { reason: format!("the tokenizer: {error}") })?;
        let ids = encoding.get_ids();
        let [first, last] = self.around;
        let inner = ids.iter().copied().take(max.saturating_sub(2));
        Ok([first].into_iter().chain(inner).chain([last]).collect())
    }
}
