use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::directory::testing::{self, header_of};
use crate::tokenizer::Tokenizer;

/// Texts that are hard to take apart.
const TEXTS: [&str; 14] = [
    "Hello, world!",
    "  two spaces\n\n\nand lines\t\ttabs \r\n",
    "na\u{ef}ve caf\u{e9} \u{2014} \u{ab}quoted\u{bb} \u{20ac}42.50",
    "日本語のテキストと한국어, русский язык",
    "fn main() {\n    println!(\"{:?}\", vec![1, 2, 3]);\n}",
    "<start_of_turn>user\nHi<end_of_turn>\n",
    "\u{1f41d}\u{1f41d} swarm \u{7} \u{fffd} \u{0}",
    "<b>bold</b>          ten",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaa 1234567890",
    "It's 2026, isn't IT? WE'LL see; they've",
    "e\u{301} and \u{e9}, \u{fb01} and fi",
    "",
    " ",
    "The node asks the swarm for peers, and each of them may lie about what it holds.",
];

/// Our tokens and those of the library that reads the whole pipeline from the file.
fn both(json: &Json, n_tokens: u64, text: &str) -> (Vec<u32>, Vec<u32>) {
    let bytes = json.to_string().into_bytes();
    let ours = ours(&bytes, n_tokens).expect("it is supported");
    let library = library(json);
    (ours.encode(text).expect("it is text"), theirs(&library, text))
}

fn ours(json: &[u8], n_tokens: u64) -> Result<Tokenizer, EngineError> {
    let values = values(&parse(json)?, &Sidecar::default(), n_tokens)?;
    Tokenizer::read(&header_of(&values))
}

fn library(json: &Json) -> tokenizers::Tokenizer {
    let mut json = json.clone();
    json["truncation"] = Json::Null;
    json["padding"] = Json::Null;
    for added in json["added_tokens"].as_array_mut().expect("a list") {
        for flag in ["single_word", "lstrip", "rstrip"] {
            added[flag] = false.into();
        }
    }
    tokenizers::Tokenizer::from_bytes(json.to_string()).expect("the library reads it")
}

fn theirs(library: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    library.encode(text, true).expect("it is text").get_ids().to_vec()
}

/// Bytes as GPT-2 writes them.
fn byte(byte: u8) -> char {
    match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).expect("a character"),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte) - 0x7f).expect("a character"),
        0xad => '\u{143}',
    }
}

/// A byte-level BPE with some merges.
fn bytes(pre_tokenizer: Json, ignore_merges: bool) -> Json {
    let mut vocab: BTreeMap<String, u64> =
        (0..=255).map(|b| (byte(b).to_string(), u64::from(b))).collect();
    let merges = [
        ["h", "e"],
        ["l", "l"],
        ["\u{120}", "t"],
        ["\u{120}t", "he"],
        ["i", "n"],
        ["a", "n"],
        ["an", "d"],
        ["\u{120}", "and"],
        ["e", "r"],
        ["o", "n"],
        ["1", "2"],
        ["12", "3"],
        ["'", "s"],
        ["\u{c3}", "\u{a9}"],
        ["\u{120}", "\u{120}"],
        ["T", "he"],
        ["s", "w"],
    ];
    for [left, right] in merges {
        let id = vocab.len() as u64;
        vocab.entry(format!("{left}{right}")).or_insert(id);
    }
    let n = vocab.len() as u64;
    json!({
        "added_tokens": [
            {"id": n, "content": "<|im_start|>", "special": true, "normalized": false},
            {"id": n + 1, "content": "<tool>", "special": false, "normalized": false},
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                           "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                    "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "ignore_merges": ignore_merges,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
                  "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
}

/// How Qwen splits text.
fn qwen() -> Json {
    let expression = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
    ]})
}

#[test]
fn byte_level_tokens_are_those_of_the_library() {
    let own = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true}, own.clone(),
    ]});
    for pre_tokenizer in [qwen(), own, digits] {
        let json = bytes(pre_tokenizer, false);
        for text in TEXTS.iter().chain(&["<|im_start|>the<tool> and<|im_start|>"]) {
            let (ours, theirs) = both(&json, 300, text);
            assert_eq!(ours, theirs, "{text:?}");
        }
    }
}

#[test]
fn merges_may_be_pairs_or_texts() {
    let pairs = bytes(qwen(), false);
    let mut texts = pairs.clone();
    let merges = texts["model"]["merges"].as_array().expect("a list").iter();
    let joined = merges.map(|pair| {
        let half = |at: usize| pair[at].as_str().expect("a string").to_owned();
        Json::from(half(0) + " " + &half(1))
    });
    texts["model"]["merges"] = joined.collect();
    let text = "The node and the swarm";
    assert_eq!(both(&pairs, 300, text), both(&texts, 300, text));
}

/// A SentencePiece vocabulary of single letters and some unions.
fn spaces() -> Json {
    let mut vocab: BTreeMap<String, u64> = BTreeMap::new();
    let mut merges: Vec<[String; 2]> = Vec::new();
    let known = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let known = known.chain((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let letters = "\u{2581}abcdefghijklmnopqrstuvwxyzTH,.'".chars().map(String::from);
    for token in known.chain(letters) {
        vocab.insert(token, vocab.len() as u64);
    }
    for union in [
        "th",
        "he",
        "\u{2581}a",
        "\u{2581}th",
        "the",
        "\u{2581}the",
        "er",
        "an",
        "nd",
        "and",
        "\u{2581}an",
        "\u{2581}and",
    ] {
        for (at, _) in union.char_indices().skip(1) {
            let (left, right) = union.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push([left.to_owned(), right.to_owned()]);
            }
        }
        vocab.insert(union.to_owned(), vocab.len() as u64);
    }
    json!({
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": true, "normalized": false},
            {"id": 1, "content": "<s>", "special": true, "normalized": false},
            {"id": 2, "content": "</s>", "special": true, "normalized": false},
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
        },
        "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
                  "byte_fallback": true, "vocab": vocab, "merges": merges}
    })
}

#[test]
fn scores_merge_as_the_list_does() {
    let mut prefixed = spaces();
    prefixed["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
    ]});
    let metaspace = |scheme: &str| {
        let mut json = spaces();
        json["normalizer"] = Json::Null;
        json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
                                       "prepend_scheme": scheme, "split": false});
        json
    };
    for json in [spaces(), prefixed, metaspace("first"), metaspace("always"), metaspace("never")] {
        for text in
            TEXTS.iter().chain(&["and</s>the", "the hand, the other", "</s> and", "the</s>the"])
        {
            let (ours, theirs) = both(&json, 400, text);
            // Ours says nothing of an empty text; a space of its own is not one either.
            if !text.is_empty() {
                assert_eq!(ours, theirs, "{text:?} {}", json["pre_tokenizer"]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_has_the_tokens_of_the_library(text in "([aehndt ]|the|and|\\PC){0,40}") {
        let (ours, theirs) = both(&spaces(), 400, &text);
        if !text.is_empty() {
            prop_assert_eq!(ours, theirs);
        }
        let (ours, theirs) = both(&bytes(qwen(), false), 300, &text);
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn a_changed_file_is_read_or_refused(at in any::<usize>(), new in any::<u8>(), cut in 0_usize..3) {
        for json in [bytes(qwen(), false), spaces()] {
            let mut file = json.to_string().into_bytes();
            let at = at % file.len();
            file[at] = new;
            if cut == 0 {
                file.truncate(at);
            }
            if let Ok(tokenizer) = ours(&file, 400) {
                _ = tokenizer.encode("the swarm");
            }
        }
    }
}

/// Each change makes a file that must be refused, for the reason in it.
#[test]
fn what_is_not_known_is_refused_by_name() {
    type Change = fn(&mut Json);
    let table: [(Change, &str); 15] = [
        (|j| j["model"]["type"] = "Unigram".into(), "Unigram"),
        (|j| j["model"]["type"] = "WordPiece".into(), "WordPiece"),
        (|j| j["model"]["dropout"] = 0.1.into(), "random merges"),
        (|j| j["model"]["end_of_word_suffix"] = "</w>".into(), "marks inside words"),
        (|j| j["model"]["vocab"]["x"] = 1.into(), "number 1"),
        (|j| j["model"]["vocab"]["new"] = 400.into(), "number 400"),
        (|j| j["model"]["vocab"]["new"] = (-1).into(), "tokenizer.json"),
        (|j| j["normalizer"] = json!({"type": "Lowercase"}), "Lowercase"),
        (|j| j["post_processor"] = json!({"type": "RobertaProcessing"}), "RobertaProcessing"),
        (|j| j["added_tokens"][0]["lstrip"] = true.into(), "lstrip"),
        (|j| j["added_tokens"][0]["id"] = 1.into(), "number 1"),
        (
            |j| j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+$".into(),
            "(a+)+$",
        ),
        (|j| j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed".into(), "Split"),
        (|j| j["model"]["ignore_merges"] = true.into(), "none of the known"),
        (
            |j| {
                j["post_processor"] = json!({"type": "TemplateProcessing", "single": [
                {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<tool>"}}]});
            },
            "behind a text",
        ),
    ];
    for (change, expected) in table {
        let mut json = bytes(qwen(), false);
        change(&mut json);
        let file = json.to_string().into_bytes();
        let error = ours(&file, 300).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn merges_that_no_scores_say_are_refused() {
    // Without one way to make `the`, a list and scores would differ.
    let mut json = spaces();
    let merges = json["model"]["merges"].as_array_mut().expect("a list");
    merges.retain(|merge| merge != &json!(["t", "he"]));
    let error = ours(json.to_string().as_bytes(), 400).expect_err("it is not the same");
    assert!(error.to_string().contains("in the order of scores"), "{error}");
}

#[test]
fn a_token_that_stands_there_twice_refuses_the_file() {
    let file = br#"{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}}"#;
    assert!(parse(file).err().expect("twice").to_string().contains("twice"));
}

#[test]
fn special_tokens_end_texts_and_rows_without_a_token_have_a_name() {
    let file = parse(bytes(qwen(), false).to_string().as_bytes()).expect("it is one");
    let sidecar = Sidecar {
        end: Some("<|im_start|>".to_owned()),
        ends: vec![5, 6, 7],
        begin: Some("h".to_owned()),
        adds_begin: Some(true),
        template: Some("{{ messages }}".to_owned()),
    };
    let header = header_of(&values(&file, &sidecar, 300).expect("it is supported"));
    let tokenizer = Tokenizer::read(&header).expect("it is one");
    assert!([5, 6, 7].iter().all(|&id| tokenizer.is_end(id)) && !tokenizer.is_end(8));
    assert_eq!(tokenizer.encode("x").expect("text")[0], u32::from(b'h'));
    assert_eq!(header.str("tokenizer.chat_template"), Some("{{ messages }}"));
    assert_eq!(header.strings("tokenizer.ggml.tokens").and_then(|t| t.get(299)), Some("[PAD299]"));
}

/// The recipe that was held against Google's own file gives the merges; here they give the scores.
#[test]
fn gemmas_tokenizer_json_says_what_its_gguf_file_says() {
    let Some(mut file) = testing::gemma() else { return };
    let (header, _) = crate::read_header(&mut file).expect("Gemma");
    let json = testing::tokenizer(&header);
    assert_eq!(json["model"]["merges"].as_array().map(Vec::len), Some(514_906));
    let bytes = json.to_string().into_bytes();
    assert!((bytes.len() as u64) < MAX_LEN);
    let ours = ours(&bytes, 262_144).expect("it is supported");
    let gguf = Tokenizer::read(&header).expect("Gemma");
    let library = library(&json);
    let source = include_str!("../vocabulary.rs");
    for text in
        TEXTS.iter().copied().chain(source.split_inclusive("\n\n")).filter(|t| !t.is_empty())
    {
        let tokens = ours.encode(text).expect("it is text");
        assert_eq!(tokens, gguf.encode(text).expect("it is text"), "{text:?}");
        assert_eq!(tokens, theirs(&library, text), "{text:?}");
    }
}
