use std::collections::BTreeMap;
use std::fs::File;

use hive_api::Part;
use serde_json::json;

use super::*;
use crate::directory::testing::{Directory, Stored, load as load_parts, part};
use crate::directory::{Opened, open};
use crate::testing::Tiny;

const WORDS: [&str; 16] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "node", "asks", "swarm", "for", "peers", "##s",
    "##ed", "?", ".", "a", "lie",
];

/// A small encoder: two layers, 16 wide, two heads.
fn tiny() -> Directory {
    let vocab: BTreeMap<&str, usize> =
        WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let mut tensors = BTreeMap::new();
    let mut add = |name: &str, shape: &[usize]| {
        let mut numbers = Tiny::weights(name, shape);
        if name.ends_with("bias") {
            for x in &mut numbers {
                *x -= 1.0;
            }
        }
        let shape = shape.iter().map(|&dim| dim as u64).collect();
        tensors.insert(name.to_owned(), (shape, numbers));
    };
    add("embeddings.word_embeddings.weight", &[WORDS.len(), 16]);
    add("embeddings.position_embeddings.weight", &[12, 16]);
    add("embeddings.token_type_embeddings.weight", &[2, 16]);
    add("pooler.dense.weight", &[16, 16]);
    let norms = ["embeddings.LayerNorm".to_owned()].into_iter().chain((0..2).flat_map(|layer| {
        ["attention.output.LayerNorm", "output.LayerNorm"]
            .map(|site| format!("encoder.layer.{layer}.{site}"))
    }));
    for norm in norms {
        add(&format!("{norm}.weight"), &[16]);
        add(&format!("{norm}.bias"), &[16]);
    }
    for layer in 0..2 {
        for (site, n_in, n_out) in [
            ("attention.self.query", 16, 16),
            ("attention.self.key", 16, 16),
            ("attention.self.value", 16, 16),
            ("attention.output.dense", 16, 16),
            ("intermediate.dense", 16, 24),
            ("output.dense", 24, 16),
        ] {
            add(&format!("encoder.layer.{layer}.{site}.weight"), &[n_out, n_in]);
            add(&format!("encoder.layer.{layer}.{site}.bias"), &[n_out]);
        }
    }
    let mut directory = Directory {
        files: BTreeMap::new(),
        config: json!({
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
            "hidden_act": "gelu", "max_position_embeddings": 12, "type_vocab_size": 2,
            "vocab_size": WORDS.len(), "layer_norm_eps": 1e-12,
            "position_embedding_type": "absolute",
        }),
        tokenizer: json!({
            "truncation": {"max_length": 3}, "padding": {"strategy": {"Fixed": 9}},
            "added_tokens": [{"id": 2, "content": "[CLS]", "special": true}],
            "normalizer": {"type": "BertNormalizer", "clean_text": true,
                           "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 100,
                      "continuing_subword_prefix": "##", "vocab": vocab},
        }),
        tensors,
    };
    directory.save(Stored::F32, 1);
    directory
}

fn bert(directory: &Directory) -> Result<Bert, EngineError> {
    match open(directory.parts())? {
        Opened::Encoder(files) => Bert::load(files, &EngineOptions::default()),
        other => panic!("{other:?}"),
    }
}

fn texts(texts: &[&str]) -> Vec<Prompt> {
    texts.iter().map(|&text| text.into()).collect()
}

#[test]
fn words_become_pieces_between_two_marks() {
    let bert = bert(&tiny()).expect("it loads");
    let tokens = |text: &str| bert.tokenizer.encode(text, 12).expect("it is text");
    assert_eq!(tokens("The NODES lied."), [2, 4, 5, 10, 1, 13, 3]);
    assert_eq!(tokens(""), [2, 3]);
    assert_eq!(tokens("a").len(), 3, "nothing is padded");
    assert_eq!(bert.tokenizer.encode("the the the the", 4).expect("text"), [2, 4, 4, 3]);
    assert_eq!(tokens(&"node ".repeat(100_000)).len(), 12);
}

/// The definition, word for word and in double precision.
fn reference(directory: &Directory, tokens: &[u32]) -> Vec<f64> {
    type Rows = Vec<Vec<f64>>;
    let numbers = |name: &str| -> Vec<f64> {
        directory.tensors[name].1.iter().map(|&x| f64::from(x)).collect()
    };
    let row = |name: &str, at: usize| numbers(name)[at * 16..][..16].to_vec();
    let linear = |name: &str, rows: &Rows| -> Rows {
        let (weight, bias) = (numbers(&format!("{name}.weight")), numbers(&format!("{name}.bias")));
        let apply = |x: &Vec<f64>| {
            let product = |(at, bias): (usize, &f64)| {
                let weight = &weight[at * x.len()..][..x.len()];
                bias + weight.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
            };
            bias.iter().enumerate().map(product).collect()
        };
        rows.iter().map(apply).collect()
    };
    let norm = |name: &str, rows: &Rows| -> Rows {
        let (weight, bias) = (numbers(&format!("{name}.weight")), numbers(&format!("{name}.bias")));
        let apply = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / 16.0;
            let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 16.0).sqrt();
            (0..16).map(|at| (x[at] - mean) / deviation * weight[at] + bias[at]).collect()
        };
        rows.iter().map(apply).collect()
    };
    let sum = |a: &Rows, b: &Rows| -> Rows {
        a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
    };
    // The error function by its integral, in a thousand steps.
    let erf = |x: f64| {
        let step = x / 1_000.0;
        let inside: f64 = (0..1_000).map(|n| (-((f64::from(n) + 0.5) * step).powi(2)).exp()).sum();
        2.0 / std::f64::consts::PI.sqrt() * step * inside
    };
    let mut x: Rows = tokens
        .iter()
        .enumerate()
        .map(|(position, &token)| {
            let word = row("embeddings.word_embeddings.weight", token as usize);
            let place = row("embeddings.position_embeddings.weight", position);
            let kind = row("embeddings.token_type_embeddings.weight", 0);
            (0..16).map(|at| word[at] + place[at] + kind[at]).collect()
        })
        .collect();
    x = norm("embeddings.LayerNorm", &x);
    for layer in 0..2 {
        let at = |site: &str| format!("encoder.layer.{layer}.{site}");
        let [q, k, v] = ["query", "key", "value"]
            .map(|what| linear(&at(&format!("attention.self.{what}")), &x));
        let mut mixed = vec![vec![0.0; 16]; x.len()];
        for head in [0, 8] {
            for (i, out) in mixed.iter_mut().enumerate() {
                let score = |j: usize| {
                    let dot: f64 = (head..head + 8).map(|at| q[i][at] * k[j][at]).sum();
                    (dot / 8_f64.sqrt()).exp()
                };
                let total: f64 = (0..x.len()).map(score).sum();
                for (j, value) in v.iter().enumerate() {
                    (head..head + 8).for_each(|at| out[at] += score(j) / total * value[at]);
                }
            }
        }
        let attended = linear(&at("attention.output.dense"), &mixed);
        x = norm(&at("attention.output.LayerNorm"), &sum(&x, &attended));
        let mut up = linear(&at("intermediate.dense"), &x);
        up.iter_mut().flatten().for_each(|x| *x = 0.5 * *x * (1.0 + erf(*x / 2_f64.sqrt())));
        x = norm(&at("output.LayerNorm"), &sum(&x, &linear(&at("output.dense"), &up)));
    }
    let mean: Vec<f64> = (0..16).map(|at| x.iter().map(|row| row[at]).sum()).collect();
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.iter().map(|x| x / length).collect()
}

#[test]
fn vectors_are_what_the_definition_says() {
    let directory = tiny();
    let mut bert = bert(&directory).expect("it loads");
    for text in ["The node asks the swarm for peers?", "a", "peers lie. the nodes asked"] {
        let tokens = bert.tokenizer.encode(text, 12).expect("it is text");
        let embedded = bert.embed(&texts(&[text])).expect("it computes");
        assert_eq!(embedded.tokens as usize, tokens.len());
        for (ours, expected) in embedded.vectors[0].iter().zip(reference(&directory, &tokens)) {
            assert!((f64::from(*ours) - expected).abs() < 1e-5, "{text}: {ours} {expected}");
        }
    }
}

#[test]
fn a_vector_does_not_depend_on_the_texts_beside_it() {
    let mut bert = bert(&tiny()).expect("it loads");
    let all = ["the node", "a", "peers lie. the nodes asked the swarm for a node?", "", "swarm?"];
    let together = bert.embed(&texts(&all)).expect("it computes");
    for (text, together) in all.iter().zip(&together.vectors) {
        let alone = bert.embed(&texts(&[text])).expect("it computes");
        let close = alone.vectors[0].iter().zip(together).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close, "{text}");
        let length: f32 = together.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
    assert!(bert.embed(&[]).expect("nothing").vectors.is_empty());
    let many = vec![Prompt::from("the swarm"); 2 * ROWS];
    let many = bert.embed(&many).expect("it computes");
    assert!(many.vectors.len() == 2 * ROWS && many.vectors.iter().all(|v| *v == many.vectors[0]));
}

#[test]
fn tokens_are_taken_as_they_are_and_checked() {
    let mut bert = bert(&tiny()).expect("it loads");
    let text = bert.embed(&texts(&["the node"])).expect("it computes");
    let tokens = bert.embed(&[Prompt::Tokens(vec![2, 4, 5, 3])]).expect("it computes");
    assert_eq!(text, tokens);
    for (tokens, expected) in
        [(vec![], "no tokens"), (vec![16], "16 is not a token"), (vec![4; 13], "13 tokens")]
    {
        let error = bert.embed(&[Prompt::Tokens(tokens)]).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_encoder_embeds_and_does_not_generate() {
    let mut engine = load_parts(tiny().parts()).expect("it loads");
    let error = engine.begin(1, GenerateRequest::new("hello")).expect_err("it cannot");
    assert!(error.to_string().contains("does not generate"), "{error}");
    assert_eq!(engine.free(), 0);
    let info = engine.info();
    assert_eq!((info.kind, info.width, info.context_length), (hive_api::ModelKind::Embed, 16, 12));
}

#[test]
fn the_first_row_is_the_vector_if_the_model_says_so() {
    let mut directory = tiny();
    let mean = bert(&directory).expect("it loads").embed(&texts(&["the node"])).expect("computes");
    let pooling = |mode: &str| json!({"word_embedding_dimension": 16, mode: true}).to_string();
    let file = "1_Pooling/config.json";
    directory.files.insert(file.to_owned(), pooling("pooling_mode_cls_token").into());
    let first = bert(&directory).expect("it loads").embed(&texts(&["the node"])).expect("computes");
    assert_ne!(mean, first);
    directory.files.insert(file.to_owned(), pooling("pooling_mode_max_tokens").into());
    assert!(bert(&directory).expect_err("max").to_string().contains("pooling_mode_max_tokens"));
}

#[test]
fn what_is_not_an_encoder_of_ours_is_refused_by_name() {
    type Change = fn(&mut Directory);
    let table: [(Change, &str); 9] = [
        (|d| d.config["hidden_act"] = "relu".into(), "hidden_act"),
        (|d| d.config["num_attention_heads"] = 3.into(), "do not divide"),
        (|d| d.config["num_attention_heads"] = 0.into(), "num_attention_heads"),
        (|d| d.config["num_hidden_layers"] = 3.into(), "encoder.layer.2"),
        (|d| d.config["vocab_size"] = 15.into(), "`lie` has no row"),
        (|d| d.config["hidden_size"] = (1_u64 << 60).into(), "hidden_size"),
        (|d| d.tokenizer["model"]["type"] = "BPE".into(), "WordPiece"),
        (|d| d.tokenizer["normalizer"]["type"] = "Replace".into(), "BertNormalizer"),
        (
            |d| drop(d.tokenizer["model"]["vocab"].as_object_mut().map(|v| v.remove("[CLS]"))),
            "no `[CLS]`",
        ),
    ];
    for (change, expected) in table {
        let mut directory = tiny();
        change(&mut directory);
        let error = bert(&directory).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let mut directory = tiny();
    directory.tensors.get_mut("encoder.layer.1.output.dense.bias").expect("it is there").1[3] =
        f32::NAN;
    directory.save(Stored::F32, 1);
    let error = bert(&directory).expect_err("NaN").to_string();
    assert!(error.contains("encoder.layer.1.output.dense.bias"), "{error}");
}

/// The real MiniLM, if `scripts/get-minilm.sh` was run.
#[expect(clippy::print_stderr, reason = "a test that checks nothing has to say so")]
fn minilm() -> Option<Vec<Part>> {
    let directory = crate::testing::cached("HIVE_MINILM", "all-minilm-l6-v2")?;
    let files = [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "tokenizer_config.json",
    ];
    let open = |name: &&str| {
        let file = File::open(directory.join(name)).ok()?;
        Some(Part { path: (*name).to_owned(), file, gate: None })
    };
    let parts: Option<Vec<Part>> = files.iter().map(open).collect();
    if parts.is_none() {
        eprintln!("SKIPPED: no {}; scripts/get-minilm.sh fetches it", directory.display());
    }
    parts
}

#[test]
fn minilm_makes_the_vectors_that_python_makes() {
    let Some(parts) = minilm() else { return };
    let mut engine = load_parts(parts).expect("MiniLM loads");
    assert_eq!((engine.info().width, engine.info().context_length), (384, 256));
    let question = "What is the capital of France?";
    let embedded = engine.embed(&texts(&[question])).expect("it computes");
    assert_eq!(embedded.tokens, 9);
    let expected = [0.08205, 0.03606, -0.00389, -0.00488, 0.02565, -0.05714, 0.01219, 0.00468];
    for (ours, expected) in embedded.vectors[0].iter().zip(expected) {
        assert!((ours - expected).abs() < 1e-4, "{ours} {expected}");
    }
    let others = [
        "Which city is the capital of France?",
        "How do I bake bread?",
        &"The swarm fetches chunks. ".repeat(200),
    ];
    let embedded_others = engine.embed(&texts(&others)).expect("it computes");
    let near = |other: usize| -> f32 {
        let pairs = embedded.vectors[0].iter().zip(&embedded_others.vectors[other]);
        pairs.map(|(a, b)| a * b).sum()
    };
    assert!(near(0) > 0.9 && near(1) < 0.3, "{} {}", near(0), near(1));
    let long = engine.embed(&texts(&others[2..])).expect("it computes");
    assert_eq!(long.tokens, 256);
}

#[test]
fn a_directory_that_only_looks_like_one_is_refused() {
    let config = br#"{"model_type": "bert"}"#;
    let parts = vec![part("config.json", config), part("model.safetensors", b"{}")];
    assert!(load_parts(parts).is_err());
}
