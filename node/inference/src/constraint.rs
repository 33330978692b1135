//! Holds generated text to a form: JSON, a schema, a regular expression, a grammar.
//!
//! [llguidance](https://docs.rs/llguidance) says before each token which ones may follow; the
//! others' logits become minus infinity, so every text that ends by itself has the form. A
//! [`Vocabulary`] takes a while to build and is shared by all texts of a model; a [`Constraint`] is
//! one text's.
//!
//! Never reads what a schema refers to from anywhere but the schema.
//!
//! Invariant: a form is small, compiles in bounded time and memory or is refused, and a form that
//! cannot be kept is an error, never a text without it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hive_api::{EngineError, Format};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::error::{compute_failed, request};
use crate::tokenizer::Tokenizer;

/// Bytes of a form.
const LONGEST: usize = 64 << 10;

/// Brackets inside brackets in a form.
const DEPTH: usize = 64;

/// The largest count in a repetition: `maxItems`, `maxLength`, `{n}`.
const REPETITION: u64 = 4_096;

/// Bytes of a token, of all, and tokens that toktrie has room for: it panics on more.
const WORD: usize = 512;
/// Tokens that are the same bytes: a space is a token of its own, and a byte.
const TWINS: u8 = 8;
const WORDS_IN_ALL: usize = 1 << 22;
const TOKENS: usize = 1 << 24;

/// White space between the parts of JSON: a model that is held to a form and has nothing to say
/// writes lines for ever if it may.
const SPACE: &str = r"(\n[ ]{0,32}|[ ])";

/// A stack for what [`DEPTH`] allows.
const STACK: usize = 32 << 20;

/// Characters of the library's words in an error.
const WORDS: usize = 400;

/// What a form may cost. Seen: FHIR, one of the largest schemas in use, takes half of the default
/// fuel and 200,000 symbols.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 1_000,
        initial_lexer_fuel: 500_000,
        step_lexer_fuel: 100_000,
        step_max_items: 30_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: false,
        // They would show the text so far.
        verbose_errors: false,
    }
}

/// The tokens of a model as llguidance wants them. Built once, when a form is first asked for.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    tokens: usize,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Sorts the tokens of a model by their bytes. `rows` is the number of its logits, which may be
    /// more than there are tokens: the rest is never drawn.
    pub(crate) fn new(tokenizer: &Tokenizer, rows: usize) -> Result<Self, EngineError> {
        let Some(&end) = tokenizer.ends().first() else {
            return Err(request(
                "the model has no token that ends a text, so it can keep to no form",
            ));
        };
        let mut words: Vec<Vec<u8>> = (0..rows.max(tokenizer.len()) as u32)
            .map(|id| {
                if tokenizer.is_control(id) || tokenizer.is_end(id) {
                    // The mark says that no text is meant.
                    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                    word.extend(tokenizer.text(id).unwrap_or_default().as_bytes());
                    word
                } else {
                    tokenizer.bytes(id).into_owned()
                }
            })
            .collect();
        bound(&mut words)?;
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let trie = trie.with_eos_tokens(tokenizer.ends());
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        // Texts that most places in JSON take whole: tokens that are such texts are looked at together.
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
            .map_err(|error| compute_failed(&error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, tokens: words.len() })
    }
}

/// Takes out the words that the trie has no room for, or is slow with: those too long, and those that
/// many others are already. Such a token is never drawn under a form.
fn bound(words: &mut [Vec<u8>]) -> Result<(), EngineError> {
    let mut known: HashMap<&[u8], u8> = HashMap::with_capacity(words.len());
    let out: Vec<usize> = (0..words.len())
        .filter(|&id| {
            let same = known.entry(&words[id]).or_default();
            *same = same.saturating_add(1);
            WORD < words[id].len() || TWINS < *same
        })
        .collect();
    drop(known);
    for id in out {
        words[id].clear();
    }
    let bytes: usize = words.iter().map(Vec::len).sum();
    if WORDS_IN_ALL <= bytes || TOKENS <= words.len() {
        return Err(request(format!(
            "the model's tokens are too many or too long for forms ({} of {bytes} bytes)",
            words.len()
        )));
    }
    Ok(())
}

/// The form that one text is held to, and where the text is in it.
pub(crate) struct Constraint {
    matcher: Matcher,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("done", &self.is_done()).finish_non_exhaustive()
    }
}

impl Constraint {
    /// Compiles a form.
    ///
    /// # Errors
    ///
    /// It is too large, cannot be understood, or asks for what cannot be enforced; the error names
    /// the keyword.
    pub(crate) fn new(vocabulary: &Vocabulary, format: &Format) -> Result<Self, EngineError> {
        let grammar = grammar(format)?;
        let compile = || {
            let parser = vocabulary.factory.create_parser(grammar);
            Matcher::new(parser)
        };
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("form".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, compile)
                .map_err(EngineError::Io)?;
            thread.join().map_err(|_| request("the form cannot be compiled"))
        })?;
        match matcher.get_error() {
            Some(error) => Err(request(format!("the form is refused: {}", words(&error)))),
            None => Ok(Self { matcher }),
        }
    }

    /// Forbids every token that may not come next.
    ///
    /// # Errors
    ///
    /// None may: the form contradicts itself, or is too much work.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), EngineError> {
        let allowed =
            self.matcher.compute_mask_or_eos().map_err(|error| lost(&error.to_string()))?;
        if allowed.is_zero() {
            return Err(lost("no token may follow"));
        }
        let words = allowed.as_slice();
        for (chunk, word) in logits.chunks_mut(32).zip(words) {
            if *word == u32::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let known = (words.len() * 32).min(logits.len());
        logits[known..].fill(f32::NEG_INFINITY);
        Ok(())
    }

    /// Goes on by the token that was drawn.
    ///
    /// # Errors
    ///
    /// It may not come next: it was not drawn under the mask.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), EngineError> {
        self.matcher.consume_token(token).map_err(|error| lost(&error.to_string()))
    }

    /// Whether the text is complete: only its end may follow.
    pub(crate) fn is_done(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the text may end here.
    #[cfg(test)]
    pub(crate) fn may_end(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }
}

fn lost(reason: &str) -> EngineError {
    request(format!("the text cannot keep to the form: {}", words(reason)))
}

/// The library's words without what it appends for its own developers.
fn words(error: &str) -> String {
    let error = error.split("\n<").next().unwrap_or_default();
    error.chars().take(WORDS).collect()
}

fn grammar(format: &Format) -> Result<TopLevelGrammar, EngineError> {
    match format {
        Format::JsonObject => schema(&json!({"type": "object"})),
        Format::JsonSchema(value) => schema(value),
        Format::Regex(regex) => {
            small("the regular expression", regex)?;
            Ok(TopLevelGrammar::from_regex(regex))
        }
        Format::Lark(lark) => {
            small("the grammar", lark)?;
            // It could switch off what is checked in a schema.
            if lark.contains("x-guidance") {
                return Err(request("`x-guidance` is not supported in a grammar"));
            }
            Ok(TopLevelGrammar::from_lark(lark.clone()))
        }
    }
}

fn schema(schema: &Value) -> Result<TopLevelGrammar, EngineError> {
    check(schema, 0)?;
    let text = schema.to_string();
    if LONGEST < text.len() {
        let len = text.len();
        return Err(request(format!(
            "the JSON schema has {len} bytes; at most {LONGEST} are read"
        )));
    }
    let schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Object(_) => schema.clone(),
        _ => return Err(request("a JSON schema is an object")),
    };
    let mut schema = schema;
    if let Some(map) = schema.as_object_mut() {
        // How models write it, and no more white space than they need.
        let options = json!({
            "whitespace_flexible": false,
            "whitespace_pattern": SPACE,
        });
        map.insert("x-guidance".to_owned(), options);
    }
    Ok(TopLevelGrammar::from_json_schema(schema))
}

/// Refuses what would be looked up elsewhere, switches checks off, or costs too much.
fn check(schema: &Value, depth: usize) -> Result<(), EngineError> {
    if DEPTH < depth {
        return Err(request(format!("the JSON schema is nested over {DEPTH} levels deep")));
    }
    match schema {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            match (key.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$id" | "$schema", Value::String(target))
                    if key.ends_with("ef") && !target.starts_with('#') =>
                {
                    return Err(request(format!(
                        "`$ref` to `{target}`: a JSON schema may only refer to itself (`#/…`)"
                    )));
                }
                ("x-guidance", _) => {
                    return Err(request("`x-guidance` is not supported in a JSON schema"));
                }
                (
                    "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
                    | "maxProperties",
                    Value::Number(number),
                ) if number.as_f64().is_some_and(|n| REPETITION as f64 <= n) => {
                    return Err(request(format!("`{key}` over {REPETITION} is not supported")));
                }
                ("pattern", Value::String(pattern)) => small("a pattern", pattern)?,
                _ => {}
            }
            check(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// Refuses a text that is long or nested deep, or repeats something too often.
fn small(what: &str, text: &str) -> Result<(), EngineError> {
    if LONGEST < text.len() {
        let len = text.len();
        return Err(request(format!("{what} has {len} bytes; at most {LONGEST} are read")));
    }
    let (mut depth, mut number) = (0_usize, 0_u64);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number = match byte {
            b'0'..=b'9' if 0 < depth => number.saturating_mul(10) + u64::from(byte - b'0'),
            b'}' if REPETITION < number => {
                return Err(request(format!("{what} repeats over {REPETITION} times")));
            }
            b',' if REPETITION < number => number,
            _ => 0,
        };
        if DEPTH < depth {
            return Err(request(format!("{what} is nested over {DEPTH} levels deep")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
