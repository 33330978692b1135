use std::io::Cursor;

use super::*;
use crate::Llama;
use crate::directory::testing::{Directory, Stored, load};
use crate::testing::{FAMILIES, Tiny};
use candle_core::quantized::GgmlDType;
use hive_api::{Engine, EngineOptions};

const TINY_HIVE: &[u8] = include_bytes!("../../assets/tiny-hive.gguf");

#[test]
fn weights_are_counted_as_they_are_held() {
    let mut files = vec![TINY_HIVE.to_vec()];
    for family in FAMILIES {
        for kind in
            [GgmlDType::F32, GgmlDType::F16, GgmlDType::Q8_0, GgmlDType::Q5_0, GgmlDType::Q4_1]
        {
            let mut tiny = Tiny::new(family);
            let matrices = tiny.tensors.iter_mut().filter(|(_, dims, _)| dims.len() == 2);
            matrices.for_each(|tensor| tensor.2 = kind);
            files.push(tiny.file());
        }
    }
    for file in files {
        let (header, _) = crate::read_header(&mut Cursor::new(&file)).expect("it is GGUF");
        let needed = memory_needed(&header, 0).expect("it is ours");
        let llama = Llama::load(Cursor::new(file), &EngineOptions::default()).expect("it loads");
        assert_eq!(needed.weights, llama.info().weight_bytes);
        assert_eq!(needed.context, 0);
    }
}

#[test]
fn a_directory_is_estimated_from_its_configuration() {
    for family in FAMILIES {
        let mut tiny = Tiny::new(family);
        tiny.tensors.retain(|(name, ..)| name != "rope_freqs.weight");
        let mut directory = Directory::of(&tiny.file());
        for (stored, n_bytes) in [(Stored::F32, 4), (Stored::BF16, 2)] {
            directory.save(stored, 1);
            let config = directory.config.to_string();
            let needed = memory_needed_by_config(config.as_bytes(), n_bytes, 64).expect("ours");
            let engine = load(directory.parts()).expect("it loads");
            assert_eq!(needed.weights, engine.info().weight_bytes, "{family}");
        }
    }
}

#[test]
fn a_window_bounds_what_local_layers_keep() {
    let header = |family: &str| {
        let file = Tiny::new(family).file();
        crate::read_header(&mut Cursor::new(file)).expect("it is GGUF").0
    };
    // 7 layers, 2 heads of 32, keys and values, 4 bytes; one of the layers is global.
    let row = 2 * 2 * 32 * 4;
    assert_eq!(memory_needed(&header("qwen3"), 64).expect("ours").context, 7 * 64 * row);
    assert_eq!(memory_needed(&header("gemma3"), 64).expect("ours").context, (64 + 6 * 16) * row);
    // More than the model can see is never kept.
    assert_eq!(memory_needed(&header("qwen3"), 1 << 40).expect("ours").context, 7 * 96 * row);
    let needed = memory_needed(&header("qwen3"), 64).expect("ours");
    assert_eq!(needed.total(3), needed.weights + 3 * needed.context + needed.working);
}

#[test]
fn what_cannot_be_run_has_no_estimate() {
    assert!(memory_needed_by_config(b"{", 2, 1).is_err());
    let error = memory_needed_by_config(br#"{"model_type": "mamba"}"#, 2, 1);
    assert!(error.expect_err("not ours").to_string().contains("mamba"));
    let huge = br#"{"model_type": "llama", "vocab_size": 1099511627776, "hidden_size": 64,
        "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64,
        "max_position_embeddings": 64, "hidden_act": "silu"}"#;
    assert!(memory_needed_by_config(huge, 2, 1).is_err());
}
