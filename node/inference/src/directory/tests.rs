use proptest::prelude::*;

use super::testing::{
    Directory, Stored, continuation, dequantised, file_of, load, part, safetensors,
};
use super::*;
use crate::testing::{FAMILIES, Tiny};

const TINY_HIVE: &[u8] = include_bytes!("../../assets/tiny-hive.gguf");

/// A small model of a family, without what a directory has no word for.
fn tiny(family: &str) -> Vec<u8> {
    let mut tiny = Tiny::new(family);
    tiny.tensors.retain(|(name, ..)| name != "rope_freqs.weight");
    tiny.file()
}

fn view(directory: &Directory) -> Result<View, EngineError> {
    match open(directory.parts())? {
        Opened::Decoder(view) => Ok(view),
        other => panic!("{other:?}"),
    }
}

fn refusal(directory: &Directory) -> String {
    view(directory).expect_err("it must be refused").to_string()
}

#[test]
fn a_directory_looks_like_the_file_that_it_was_made_of() {
    for family in FAMILIES {
        for n_shards in [1, 3] {
            let gguf = tiny(family);
            let mut directory = Directory::of(&gguf);
            directory.save(Stored::F32, n_shards);
            let (header, tensors) = dequantised(&mut view(&directory).expect(family));
            let (expected_header, expected) = dequantised(&mut Cursor::new(gguf));
            assert!(tensors.keys().eq(expected.keys()), "{family}");
            for (name, numbers) in &tensors {
                let pairs = numbers.iter().zip(&expected[name]);
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-6, "{family} {name}: {worst}");
            }
            let config = config::recognise(&header).expect(family);
            assert_eq!(config, config::recognise(&expected_header).expect(family), "{family}");
        }
    }
}

#[test]
fn a_directory_writes_what_its_gguf_file_writes() {
    let mut directory = Directory::of(TINY_HIVE);
    directory.save(Stored::F32, 2);
    let mut ours = load(directory.parts()).expect("it loads");
    let mut theirs = load(vec![part("tiny-hive.gguf", TINY_HIVE)]).expect("it loads");
    let text = continuation(&mut *theirs, "The ", 48);
    assert_eq!(continuation(&mut *ours, "The ", 48), text);
    assert!(text.len() > 20, "{text}");
}

#[test]
fn sixteen_bits_stay_sixteen_bits_in_memory() {
    let mut directory = Directory::of(TINY_HIVE);
    directory.save(Stored::BF16, 1);
    let engine = load(directory.parts()).expect("it loads");
    let info = engine.info();
    let vectors = (2 * 6 + 1) * 192;
    assert_eq!(info.weight_bytes, 2 * (info.parameters - vectors) + 4 * vectors);
    let mut engine = engine;
    let text = continuation(&mut *engine, "The ", 40);
    assert!(text.is_ascii() && text.contains(' '), "{text}");
}

#[test]
fn llama_3_slows_down_its_slow_pairs() {
    let mut directory = Directory::of(&tiny("llama"));
    directory.config["rope_scaling"] = serde_json::json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    directory.config["rope_theta"] = 500_000.0.into();
    directory.save(Stored::F32, 1);
    let (_, tensors) = dequantised(&mut view(&directory).expect("it is supported"));
    let divisors = &tensors["rope_freqs.weight"];
    // Pair 0 turns 1,300 times in what the model was trained for, the last one not once.
    assert_eq!((divisors.len(), divisors[0], divisors[7]), (8, 1.0, 8.0));
    // Between: 8192 / 2π · 500000^(-2·4/16) = 1.8439 turns.
    let smooth = (8192.0 / std::f64::consts::TAU / 500_000_f64.sqrt() - 1.0) / 3.0;
    let expected = 1.0 / ((1.0 - smooth) / 8.0 + smooth);
    assert!((f64::from(divisors[4]) - expected).abs() < 1e-4, "{}", divisors[4]);
}

/// Each change makes a model that must be refused, for the reason in it.
#[test]
fn what_the_graph_does_not_compute_is_refused_by_name() {
    let table: &[(&str, &str, Json, &str)] = &[
        ("llama", "model_type", "mamba".into(), "supported are llama, mistral"),
        ("llama", "architectures", serde_json::json!(["LlamaForSequenceClassification"]), "Causal"),
        ("llama", "num_local_experts", 8.into(), "mixture of experts"),
        ("llama", "quantization_config", serde_json::json!({"quant_method": "awq"}), "Python"),
        ("llama", "rope_scaling", serde_json::json!({"type": "yarn", "factor": 4}), "yarn"),
        ("llama", "hidden_act", "relu".into(), "silu"),
        ("llama", "num_attention_heads", 0.into(), "head_count"),
        ("llama", "num_attention_heads", "four".into(), "whole number"),
        ("llama", "num_hidden_layers", 500.into(), "missing"),
        ("llama", "num_hidden_layers", 1_000_000.into(), "block_count"),
        ("llama", "hidden_size", u64::MAX.into(), "config.json"),
        ("llama", "hidden_size", 128.into(), "expected"),
        ("llama", "vocab_size", 100.into(), "the model has 100"),
        ("llama", "vocab_size", (1_u64 << 40).into(), "vocabulary"),
        ("llama", "eos_token_id", 260.into(), "not a token"),
        ("llama", "attention_bias", true.into(), "bias"),
        ("llama", "partial_rotary_factor", 0.5.into(), "rotate in part"),
        ("qwen2", "use_sliding_window", true.into(), "sliding window"),
        ("gemma3", "query_pre_attn_scalar", 64.into(), "query_pre_attn_scalar"),
        ("gemma3", "sliding_window_pattern", 4.into(), "alternate"),
        ("gemma3", "layer_types", serde_json::json!(["full_attention"]), "alternate"),
        ("gemma3", "final_logit_softcapping", 30.0.into(), "capped"),
        ("gemma3", "use_bidirectional_attention", true.into(), "follows"),
    ];
    for (family, field, value, expected) in table {
        let mut directory = Directory::of(&tiny(family));
        directory.config[*field] = value.clone();
        directory.save(Stored::F32, 1);
        let error = refusal(&directory);
        assert!(error.contains(expected), "{field}: {error}");
    }
}

#[test]
fn every_tensor_has_its_place_and_its_shape() {
    type Change = fn(&mut Directory);
    let table: [(Change, &str); 4] = [
        (
            |d| drop(d.tensors.remove("model.layers.3.mlp.up_proj.weight")),
            "mlp.up_proj.weight` is missing",
        ),
        (
            |d| drop(d.tensors.insert("model.layers.0.moe.weight".into(), (vec![1], vec![0.0]))),
            "moe.weight` has no place",
        ),
        (
            |d| {
                let tensor = d.tensors.get_mut("model.norm.weight").expect("it is there");
                *tensor = (vec![32], vec![0.0; 32]);
            },
            "`model.norm.weight` is [32]",
        ),
        (
            |d| {
                let (shape, _) = d.tensors.get_mut("lm_head.weight").expect("it is there");
                shape.swap(0, 1);
            },
            "`lm_head.weight` is",
        ),
    ];
    for (change, expected) in table {
        let mut directory = Directory::of(&tiny("llama"));
        change(&mut directory);
        directory.save(Stored::F32, 1);
        let error = refusal(&directory);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_index_names_plain_files_that_are_there_and_says_the_truth() {
    const INDEX: &str = "model.safetensors.index.json";
    type Change = fn(&str) -> String;
    let table: [(Change, &str); 4] = [
        (|index| index.replace("model-00001", "../model-00001"), "plain file name"),
        (|index| index.replace("model-00001", "/etc/model-00001"), "plain file name"),
        (|index| index.replace("model-00001", "other-00001"), "no `other-00001"),
        (|index| index.replace("model.norm.weight", "model.norm.other"), "does not say"),
    ];
    for (change, expected) in table {
        let mut directory = Directory::of(&tiny("llama"));
        directory.save(Stored::F32, 2);
        let index = String::from_utf8(directory.files[INDEX].clone()).expect("it is JSON");
        directory.files.insert(INDEX.to_owned(), change(&index).into_bytes());
        let error = refusal(&directory);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn hostile_headers_are_refused_by_name() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let two = |second: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{second}}}}}"#
        )
    };
    let max = u64::MAX.to_string();
    let table: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "before its header"),
        (u64::MAX.to_le_bytes().to_vec(), "at most"),
        (100_u64.to_le_bytes().to_vec(), "inside its header"),
        (b"\x80\x02}q\x00......".to_vec(), "pickle"),
        (file_of("[]", &[]), "not one of safetensors"),
        (file_of("{", &[]), "not one of safetensors"),
        (file_of(&"[".repeat(5_000), &[]), "not one of safetensors"),
        (file_of(&entry("F32", "[2]", "[0,4]"), &[0; 8]), "as long as its shape"),
        (file_of(&entry("F16", "[2]", "[0,8]"), &[0; 8]), "as long as its shape"),
        (file_of(&entry("F32", "[2]", "[0,8]"), &[0; 4]), "past the end"),
        (file_of(&entry("F32", "[2]", "[8,16]"), &[0; 16]), "bytes of no tensor at 8"),
        (file_of(&entry("F32", "[1]", "[0,4]"), &[0; 8]), "bytes of no tensor at 4"),
        (file_of(&entry("F32", "[2]", "[8,0]"), &[0; 8]), "as long as its shape"),
        (file_of(&entry("F32", "[4611686018427387904,4]", "[0,0]"), &[]), "as long as its shape"),
        (
            file_of(&entry("F32", "[2305843009213693952]", "[0,9223372036854775808]"), &[]),
            "past the end",
        ),
        (file_of(&entry("F32", &format!("[{max}]"), &format!("[0,{max}]")), &[]), "shape"),
        (file_of(&entry("F32", "[-1]", "[0,8]"), &[0; 8]), "not one of safetensors"),
        (file_of(&entry("Q4", "[2]", "[0,8]"), &[0; 8]), "stored as Q4"),
        (file_of(&entry("F32", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), &[0; 8]), "dimensions"),
        (file_of(&two("[4,12]"), &[0; 12]), "overlap at 4"),
        (file_of(&two("[0,8]"), &[0; 8]), "overlap at 0"),
        (file_of(&two("[8,16]").replace("\"b\"", "\"a\""), &[0; 16]), "twice"),
        (file_of(&two("[8,16]").replace("\"b\"", "\"b\\u0000\""), &[0; 16]), "not a name"),
    ];
    for (file, expected) in table {
        let error = shards::read(&mut Cursor::new(&file), "x.safetensors", 0)
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn tensors_of_other_types_may_stand_there_if_nobody_uses_them() {
    let mut directory = Directory::of(&tiny("qwen3"));
    directory
        .tensors
        .insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), (vec![2], vec![1.0; 2]));
    directory.save(Stored::F32, 1);
    assert!(view(&directory).is_ok());
    let file = directory.files.get_mut("model.safetensors").expect("it was saved");
    let text = String::from_utf8_lossy(&file[8..]).into_owned();
    let at = text.find("\"F32\"").expect("a type") + 8;
    file[at..at + 5].copy_from_slice(b"\"I32\"");
    assert!(refusal(&directory).contains("neither F32 nor F16 nor BF16"));
}

#[test]
fn a_directory_without_a_model_says_what_would_be_one() {
    let error = open(vec![part("config.json", b"{}"), part("pytorch_model.bin", b"PK")]);
    assert!(error.expect_err("no weights").to_string().contains("never loaded"));
    let two = vec![part("a.gguf", b"GGUF"), part("b.gguf", b"GGUF")];
    assert!(open(two).expect_err("which?").to_string().contains("several"));
    let split = vec![part("a-00001-of-00002.gguf", b"GGUF")];
    assert!(open(split).expect_err("a half").to_string().contains("parts"));
    let one = vec![part("README.md", b"hello"), part("best-of-5.gguf", b"GGUF")];
    assert!(matches!(open(one), Ok(Opened::Gguf(_))));
    assert!(open(Vec::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_changed_header_is_read_or_refused(
        at in 0_usize..400,
        bytes in prop::collection::vec(any::<u8>(), 1..4),
        cut in 0_usize..500,
    ) {
        let tensors = [
            ("a", &(vec![2, 3], vec![1.0; 6])),
            ("bb", &(vec![4], vec![2.0; 4])),
        ];
        let mut file = safetensors(tensors.into_iter(), Stored::F32);
        let at = at % file.len();
        for (byte, new) in file[at..].iter_mut().zip(&bytes) {
            *byte = *new;
        }
        file.truncate(file.len() - cut % file.len());
        if let Ok(tensors) = shards::read(&mut Cursor::new(&file), "x.safetensors", 0) {
            let mut total = 0;
            for tensor in tensors.values() {
                let len = tensor.n_elements() * tensor.dtype.n_bytes();
                prop_assert!(tensor.offset + len <= file.len() as u64);
                total += len;
            }
            let header = u64::from_le_bytes(file[..8].try_into().expect("eight"));
            prop_assert_eq!(8 + header + total, file.len() as u64);
        }
    }

    #[test]
    fn a_changed_configuration_is_read_or_refused(at in any::<usize>(), byte in any::<u8>()) {
        let directory = Directory::of(&tiny("gemma3"));
        let mut json = directory.config.to_string().into_bytes();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(json) = serde_json::from_slice::<Json>(&json) {
            _ = shape::read(&json);
        }
    }
}
