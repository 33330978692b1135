use std::io::Cursor;

use candle_core::quantized::gguf_file::Value;

use super::*;
use crate::testing::{Tiny, VOCAB};

fn header(tiny: &Tiny) -> Header {
    crate::read_header(&mut Cursor::new(tiny.file())).unwrap().0
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A vocabulary of GPT-2's kind: 256 bytes, three unions, one special token.
fn bpe(pre: &str) -> Tiny {
    let mut tiny = Tiny::new("qwen2");
    let byte = |byte: u8| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).unwrap(),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte) - 0x7f).unwrap(),
        0xad => '\u{143}',
    };
    let mut tokens: Vec<String> = (0..=255).map(|b| byte(b).to_string()).collect();
    tokens.extend(["he", "hel", "\u{120}h", "<|end|>"].map(str::to_owned));
    assert_eq!(tokens.len(), VOCAB);
    let merges = ["h e", "he l", "\u{120} h"].map(text);
    let roles = [1; VOCAB - 1].into_iter().chain([3]).map(Value::I32);
    tiny.set("tokenizer.ggml.model", text("gpt2"))
        .set("tokenizer.ggml.pre", text(pre))
        .set("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|t| text(t)).collect()))
        .set("tokenizer.ggml.token_type", Value::Array(roles.collect()))
        .set("tokenizer.ggml.merges", Value::Array(merges.to_vec()));
    tiny
}

#[test]
fn a_byte_level_vocabulary_merges_and_comes_back() {
    let tokenizer = Tokenizer::read(&header(&bpe("qwen2"))).unwrap();
    let tokens = tokenizer.encode("hello hi<|end|>\u{e9}").unwrap();
    let expected = [257, u32::from(b'l'), u32::from(b'o'), 258, u32::from(b'i'), 259, 0xc3, 0xa9];
    assert_eq!(tokens, expected);
    let bytes: Vec<u8> = tokens.iter().flat_map(|&id| tokenizer.bytes(id).into_owned()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), "hello hi\u{e9}");
    assert!(tokenizer.is_end(259));
}

#[test]
fn every_byte_has_a_token_that_is_it() {
    let tokenizer = Tokenizer::read(&header(&bpe("gpt-2"))).unwrap();
    for byte in 0..=255_u32 {
        assert_eq!(*tokenizer.bytes(byte), [byte as u8]);
    }
}

#[test]
fn every_known_splitting_compiles() {
    for pre in ["gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "smollm", "tekken", "gpt-4o"] {
        let tokenizer = Tokenizer::read(&header(&bpe(pre))).unwrap();
        assert!(!tokenizer.encode("It's 2026,\n\n  isn't IT?").unwrap().is_empty(), "{pre}");
    }
}

#[test]
fn an_unknown_splitting_is_refused_with_those_that_are_known() {
    let error = Tokenizer::read(&header(&bpe("my-own"))).unwrap_err().to_string();
    assert!(error.contains("my-own") && error.contains("llama-bpe"), "{error}");
}

#[test]
fn a_merge_of_what_is_not_a_token_is_refused() {
    for merge in ["x y", "nospace", "he lp", ""] {
        let mut tiny = bpe("qwen2");
        tiny.set("tokenizer.ggml.merges", Value::Array(vec![text(merge)]));
        let error = Tokenizer::read(&header(&tiny)).unwrap_err().to_string();
        assert!(error.contains("merges"), "{merge}: {error}");
    }
}

/// A SentencePiece vocabulary with unions whose scores decide.
fn spm(add_space: bool) -> Tokenizer {
    let mut tiny = Tiny::new("llama");
    let mut tokens: Vec<String> = (0..VOCAB).map(|n| format!("<unused{n}>")).collect();
    let mut roles = [5; VOCAB];
    let mut scores = [0.0; VOCAB];
    let known = ["a", "b", "c", "ab", "bc", "abc", "\u{2581}", "\u{2581}a"];
    for (id, (token, score)) in
        known.iter().zip([0.0, 0.0, 0.0, -2.0, -1.0, -3.0, 0.0, -4.0]).enumerate()
    {
        (tokens[id], roles[id], scores[id]) = ((*token).to_owned(), 1, score);
    }
    for (id, token, role) in [(20, "<tag>", 4), (21, "<tag>more", 4), (22, "<s>", 3)] {
        (tokens[id], roles[id]) = (token.to_owned(), role);
    }
    tiny.set("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|t| text(t)).collect()))
        .set("tokenizer.ggml.token_type", Value::Array(roles.map(Value::I32).to_vec()))
        .set("tokenizer.ggml.scores", Value::Array(scores.map(Value::F32).to_vec()))
        .set("tokenizer.ggml.bos_token_id", Value::U32(22))
        .set("tokenizer.ggml.add_space_prefix", Value::Bool(add_space));
    Tokenizer::read(&header(&tiny)).unwrap()
}

#[test]
fn the_union_with_the_best_score_comes_first() {
    // `bc` before `ab`, though `ab` stands to the left of it.
    assert_eq!(spm(false).encode("abc").unwrap(), [22, 5]);
    assert_eq!(spm(false).encode("abcb").unwrap(), [22, 5, 1]);
    assert_eq!(spm(false).encode("cbca").unwrap(), [22, 2, 4, 0]);
}

#[test]
fn a_text_begins_with_a_space_if_the_model_was_trained_so() {
    assert_eq!(spm(true).encode("a").unwrap(), [22, 7]);
    assert_eq!(spm(false).encode("a").unwrap(), [22, 0]);
    assert_eq!(spm(false).encode(" a").unwrap(), [22, 7]);
}

#[test]
fn the_longest_special_token_is_taken() {
    assert_eq!(spm(false).encode("a<tag>more<tag>b").unwrap(), [22, 0, 21, 20, 1]);
}

#[test]
fn a_text_that_begins_by_itself_is_not_begun_twice() {
    assert_eq!(spm(false).encode("<s>a").unwrap(), [22, 0]);
}

#[test]
fn special_tokens_have_no_text() {
    let tokenizer = spm(false);
    assert!(tokenizer.bytes(22).is_empty());
    assert_eq!(*tokenizer.bytes(20), *b"<tag>");
    assert_eq!(*tokenizer.bytes(7), *b" a");
    assert!(tokenizer.bytes(u32::MAX).is_empty());
}
