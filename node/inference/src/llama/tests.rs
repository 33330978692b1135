use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use hive_api::{FailureKind, Generated, Sampling};
use proptest::prelude::*;

use super::*;
use crate::testing::{LAYERS, Tiny, WIDTH};

/// The model that is committed with this crate.
pub(super) const TINY_HIVE: &[u8] = include_bytes!("../../assets/tiny-hive.gguf");

fn load(file: Vec<u8>) -> Result<Llama, EngineError> {
    Llama::load(Cursor::new(file), &EngineOptions::default())
}

pub(super) fn tiny_hive() -> Llama {
    load(TINY_HIVE.to_vec()).expect("the committed model loads")
}

/// A request for the likeliest continuation.
pub(super) fn greedy(prompt: impl Into<Prompt>, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateRequest::new(prompt)
    }
}

/// What a text came to.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) text: String,
    pub(super) tokens: Vec<hive_api::TokenLogprob>,
    pub(super) end: Option<Result<Generated, Failure>>,
}

impl Ended {
    pub(super) fn generated(&self) -> Generated {
        self.end.clone().expect("it ended").expect("it computes")
    }
}

/// Takes in the outputs of a step; whether any came.
pub(super) fn step(llama: &mut Llama, texts: &mut BTreeMap<Ticket, Ended>) -> bool {
    let mut outputs = Vec::new();
    llama.step(&mut outputs);
    let any = !outputs.is_empty();
    for (ticket, output) in outputs {
        let text = texts.entry(ticket).or_default();
        assert!(text.end.is_none(), "nothing follows the last output");
        match output {
            Output::Piece(piece) => {
                text.text.push_str(&piece.text);
                text.tokens.extend(piece.tokens);
            }
            Output::Done(generated) => text.end = Some(Ok(generated)),
            Output::Failed(failure) => text.end = Some(Err(failure)),
            Output::ToolCall(call) => panic!("nobody asked for {call:?}"),
        }
    }
    any
}

/// Works until every text has ended.
pub(super) fn run_all(llama: &mut Llama, requests: Vec<GenerateRequest>) -> Vec<Ended> {
    let n = requests.len();
    for (ticket, request) in requests.into_iter().enumerate() {
        llama.begin(ticket as Ticket, request).expect("it is taken in");
    }
    let mut texts = BTreeMap::new();
    while llama.free() < llama.places {
        step(llama, &mut texts);
    }
    assert_eq!(texts.len(), n);
    texts.into_values().collect()
}

pub(super) fn run(llama: &mut Llama, request: GenerateRequest) -> Ended {
    run_all(llama, vec![request]).remove(0)
}

/// The likeliest continuation.
pub(super) fn generate(
    llama: &mut Llama,
    prompt: &str,
    max_tokens: u32,
    stop: &[&str],
) -> (String, Generated) {
    let stop = stop.iter().map(|&stop| stop.to_owned()).collect();
    let ended = run(llama, GenerateRequest { stop, ..greedy(prompt, max_tokens) });
    let generated = ended.generated();
    (ended.text, generated)
}

#[test]
fn the_committed_model_says_what_it_is() {
    let llama = tiny_hive();
    let info = llama.info();
    assert_eq!(info.architecture, "llama");
    assert_eq!(info.name.as_deref(), Some("tiny-hive"));
    assert_eq!(info.context_length, 256);
    assert_eq!(info.vocab_size, 260);
    assert!(TINY_HIVE.len() < 4 << 20);
}

#[test]
fn the_committed_model_writes_something_like_english() {
    let (text, generated) = generate(&mut tiny_hive(), "The ", 120, &[]);
    assert_eq!(generated.generated_tokens, 120);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(text.is_ascii() && 12 < words.len() && words.len() < 60, "{text}");
    let known = ["the", "a", "of", "is", "it", "in", "and", "to", "that", "not", "are", "for"];
    assert!(words.iter().any(|word| known.contains(word)), "{text}");
}

/// The trainer measured the same with other code for the same graph.
#[test]
fn the_committed_model_has_learnt_english() {
    let text = "The node asks the swarm for peers, and each of them may lie about what it holds.";
    let mut llama = tiny_hive();
    let perplexity = llama.perplexity(text).expect("it computes");
    // Guessing among the bytes of English text has some 20.
    assert!(perplexity < 7.0, "{perplexity}");
}

#[test]
fn generation_stops_before_a_stop_string() {
    let mut llama = tiny_hive();
    let (text, _) = generate(&mut llama, "The ", 60, &[]);
    let stop = &text[20..24];
    let end = text.find(stop).expect("it is part of the text");
    let (stopped, generated) = generate(&mut llama, "The ", 60, &["never", stop]);
    assert_eq!(stopped, text[..end]);
    assert_eq!(generated.finish, Finish::Stop);
}

#[test]
fn generation_ends_with_the_context() {
    let mut llama = tiny_hive();
    let prompt = "a".repeat(250);
    let (_, generated) = generate(&mut llama, &prompt, 100, &[]);
    assert_eq!((generated.prompt_tokens, generated.generated_tokens), (251, 5));
    assert_eq!(generated.finish, Finish::Length);
}

#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let mut llama = tiny_hive();
    for n in [256, 100_000] {
        let result = llama.begin(1, greedy("a".repeat(n).as_str(), 1));
        assert!(matches!(result, Err(EngineError::PromptTooLong { context: 256, .. })));
    }
    let options = EngineOptions { context: Some(20), ..EngineOptions::default() };
    let mut short = Llama::load(Cursor::new(TINY_HIVE), &options).expect("it loads");
    assert_eq!(short.info().context_length, 20);
    let result = short.begin(1, greedy("a".repeat(20).as_str(), 1));
    assert!(matches!(result, Err(EngineError::PromptTooLong { context: 20, .. })));
}

#[test]
fn a_cancelled_generation_ends_at_once() {
    let mut llama = tiny_hive();
    llama.begin(7, greedy("The ", 50)).expect("it is taken in");
    let mut texts = BTreeMap::new();
    for _ in 0..3 {
        step(&mut llama, &mut texts);
    }
    let shown = texts[&7].text.len();
    assert!(0 < shown && texts[&7].end.is_none());
    llama.cancel(7);
    llama.cancel(8);
    step(&mut llama, &mut texts);
    let generated = texts[&7].generated();
    assert_eq!((generated.finish, generated.generated_tokens), (Finish::Cancelled, 3));
    assert_eq!((texts[&7].text.len(), texts.len()), (shown, 1));
    assert_eq!(llama.free(), llama.places);
    assert!(!step(&mut llama, &mut texts));
}

#[test]
fn a_text_that_is_cancelled_before_it_began_ends_too() {
    let mut llama = tiny_hive();
    llama.begin(1, greedy("The ", 50)).expect("it is taken in");
    llama.cancel(1);
    let mut texts = BTreeMap::new();
    step(&mut llama, &mut texts);
    let generated = texts[&1].generated();
    assert_eq!((generated.finish, generated.generated_tokens), (Finish::Cancelled, 0));
}

#[test]
fn a_seed_gives_the_same_text_after_other_texts() {
    let mut llama = tiny_hive();
    let mut text = |seed| {
        let sampling = Sampling { seed, ..Sampling::default() };
        run(&mut llama, GenerateRequest { sampling, ..greedy("A peer ", 40) }).text
    };
    let first = text(1);
    assert_ne!(text(2), first);
    assert_eq!(text(1), first);
}

#[test]
fn any_prompt_is_text() {
    let mut llama = tiny_hive();
    for prompt in ["\u{0}\u{7f}", "\u{1f41d}", "</s><s><s>", " \u{2581} ", "e\u{301}\r\n"] {
        generate(&mut llama, prompt, 2, &["", "\u{1f41d}"]);
    }
}

/// Each change makes a model that must be refused, for the reason in it.
#[test]
fn hostile_models_are_refused() {
    type Change = fn(&mut Tiny);
    let table: [(&str, Change, &str); 18] = [
        ("architecture", |t| _ = t.set("general.architecture", text("bert")), "supported are"),
        ("no heads", |t| _ = t.set("llama.attention.head_count", Value::U32(0)), "head_count"),
        ("no key heads", |t| _ = t.set("llama.attention.head_count_kv", Value::U32(0)), "head"),
        ("odd groups", |t| _ = t.set("llama.attention.head_count_kv", Value::U32(3)), "share"),
        ("layers", |t| _ = t.set("llama.block_count", Value::U32(500)), "missing"),
        ("many layers", |t| _ = t.set("llama.block_count", Value::U32(513)), "block_count"),
        ("width", |t| _ = t.set("llama.embedding_length", Value::U32(128)), "expected"),
        ("no context", |t| _ = t.set("llama.context_length", Value::U32(0)), "context_length"),
        (
            "epsilon",
            |t| {
                _ = t.set("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN));
            },
            "epsilon",
        ),
        ("base", |t| _ = t.set("llama.rope.freq_base", Value::F32(0.0)), "freq_base"),
        ("scaling", |t| _ = t.set("llama.rope.scaling.type", text("yarn")), "yarn"),
        ("experts", |t| _ = t.set("llama.expert_count", Value::U32(8)), "mixture of experts"),
        ("tokenizer", |t| _ = t.set("tokenizer.ggml.model", text("bert")), "supported are"),
        (
            "tokens",
            |t| {
                _ = t.set("tokenizer.ggml.tokens", Value::Array(vec![text("a")]));
            },
            "token_embd",
        ),
        (
            "scores",
            |t| {
                _ = t.set("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.0)]));
            },
            "scores",
        ),
        ("begin", |t| _ = t.set("tokenizer.ggml.bos_token_id", Value::U32(260)), "not a token"),
        ("missing", |t| t.tensors.retain(|(name, ..)| name != "blk.3.ffn_up.weight"), "missing"),
        (
            "a stranger",
            |t| {
                t.tensors.push(("blk.0.attn_qkv.weight".into(), vec![WIDTH], GgmlDType::F32));
            },
            "no place",
        ),
    ];
    for (what, change, expected) in table {
        let mut tiny = Tiny::new("llama");
        change(&mut tiny);
        let error = load(tiny.file()).expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn a_tensor_of_another_shape_is_refused() {
    let n_tensors = Tiny::new("gemma3").tensors.len();
    for index in [0, 1, n_tensors / 2, n_tensors - 1] {
        let mut tiny = Tiny::new("gemma3");
        tiny.tensors[index].1[0] += 32;
        let error = load(tiny.file()).expect_err("a wrong shape").to_string();
        assert!(error.contains(&tiny.tensors[index].0), "{error}");
    }
}

#[test]
fn a_file_that_ends_in_its_weights_is_refused() {
    let file = Tiny::new("qwen3").file();
    let error = load(file[..file.len() - 64].to_vec()).expect_err("it is cut").to_string();
    assert!(error.contains("runs into") || error.contains("place"), "{error}");
}

#[test]
fn pickles_are_refused_by_their_bytes() {
    for file in [&b"\x80\x02}q\x00."[..], b"PK\x03\x04\0\0archive/data.pkl"] {
        let error = load(file.to_vec()).expect_err("a pickle");
        assert!(matches!(&error, EngineError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn weights_that_are_not_numbers_fail_without_a_panic() {
    let mut file = Tiny::new("llama").file();
    let tail = file.len() - 4 * WIDTH * LAYERS..;
    file[tail].fill(0xff);
    let mut llama = load(file).expect("its form is right");
    let ended = run(&mut llama, greedy("a", 3));
    let failure = ended.end.expect("it ended").expect_err("it cannot compute");
    assert_eq!(failure.kind, FailureKind::Compute);
    assert!(failure.message.contains("not a number"), "{failure}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A byte of the header, broken: refused or loaded, never a panic.
    #[test]
    fn a_broken_byte_cannot_make_loading_panic(at in 0_usize..12_000, byte: u8) {
        let mut file = TINY_HIVE.to_vec();
        file[at] = byte;
        if let Ok(mut llama) = load(file) {
            let tokens = llama.tokenize("a b").unwrap_or_default();
            let _ = llama.perplexity_of(&tokens);
        }
    }

    #[test]
    fn text_comes_back_from_its_tokens(text: String) {
        let llama = tiny_hive();
        let tokens = llama.tokenize(&text).expect("it is text");
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|&token| llama.prompts.tokenizer.bytes(token).into_owned()).collect();
        // What SentencePiece writes for a space reads as one.
        prop_assert_eq!(String::from_utf8_lossy(&bytes), text.replace('\u{2581}', " "));
    }
}
