use std::io::Cursor;

use super::*;
use crate::Llama;
use crate::directory::testing::{self, Directory, Stored, continuation, load, on, part};
use crate::testing::{FAMILIES, Tiny};

const TINY_HIVE: &[u8] = include_bytes!("../../assets/tiny-hive.gguf");
const ALL: [Quantization; 3] = [Quantization::Q8_0, Quantization::Q4_0, Quantization::Q4K];
const TEXT: &str =
    "The node asks the swarm for peers, and each of them may lie about what it holds.";

/// 126 tokens of plain English.
const EIFFEL: &str = "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in \
Paris, France. It is named after the engineer Gustave Eiffel, whose company designed and built \
the tower from 1887 to 1889. It was built as the centrepiece of the 1889 World's Fair and has become a \
global cultural icon of France and one of the most recognisable structures in the world. The \
tower is 330 metres tall, about the same height as an 81-storey building, and it is the \
tallest structure in Paris. It was the first structure.";

fn quantised(parts: Vec<Part>, to: Quantization) -> File {
    let mut out = tempfile::tempfile().expect("there is room");
    quantize(parts, to, &mut out, &mut on).expect("it is a model");
    out.rewind().expect("it is a file");
    out
}

fn surprise(reader: impl Read + Seek + Send, text: &str) -> f64 {
    let options = hive_api::EngineOptions::default();
    Llama::load(reader, &options).expect("it loads").perplexity(text).expect("it computes")
}

#[test]
fn fewer_bits_read_nearly_as_before() {
    let before = surprise(Cursor::new(TINY_HIVE), TEXT);
    for (to, limit) in
        [(Quantization::Q8_0, 1e-6), (Quantization::Q4_0, 0.15), (Quantization::Q4K, 0.06)]
    {
        let after = surprise(quantised(vec![part("m.gguf", TINY_HIVE)], to), TEXT);
        assert!((after / before - 1.0).abs() < limit, "{to:?}: {before} {after}");
    }
}

#[test]
fn a_quantised_directory_writes_text() {
    for to in ALL {
        let mut directory = Directory::of(TINY_HIVE);
        directory.save(Stored::F32, 2);
        let out = quantised(directory.parts(), to);
        let mut engine = load(vec![Part { path: "m.gguf".to_owned(), file: out, gate: None }])
            .expect("it loads");
        let text = continuation(&mut *engine, "The ", 60);
        assert!(text.is_ascii() && text.split_whitespace().count() > 4, "{to:?}: {text}");
    }
}

/// 8 bits came from 8 bits here, so nothing may change.
#[test]
fn a_directory_and_its_gguf_file_become_the_same_weights() {
    let mut directory = Directory::of(TINY_HIVE);
    directory.save(Stored::F32, 1);
    let mut out = quantised(directory.parts(), Quantization::Q8_0);
    let (_, ours) = testing::dequantised(&mut out);
    let (_, theirs) = testing::dequantised(&mut Cursor::new(TINY_HIVE));
    assert!(ours.keys().eq(theirs.keys()));
    for (name, numbers) in &ours {
        let close = numbers.iter().zip(&theirs[name]).all(|(a, b)| (a - b).abs() <= 1e-3 * b.abs());
        assert!(close, "{name}");
    }
}

#[test]
fn every_family_is_quantised_and_loads() {
    for family in FAMILIES {
        for to in ALL {
            let out = quantised(vec![part("m.gguf", &Tiny::new(family).file())], to);
            let options = hive_api::EngineOptions::default();
            assert!(Llama::load(out, &options).is_ok(), "{family} {to:?}");
        }
    }
}

#[test]
fn values_are_kept_and_the_new_type_is_named() {
    let mut tiny = Tiny::new("qwen3");
    use candle_core::quantized::gguf_file::Value as Theirs;
    tiny.set("somebody.else", Theirs::String("keep me".to_owned()))
        .set("general.file_type", Theirs::U32(0))
        .set("general.alignment", Theirs::U32(32));
    let mut out = quantised(vec![part("m.gguf", &tiny.file())], Quantization::Q4K);
    let (header, len) = crate::read_header(&mut out).expect("it is a GGUF file");
    assert_eq!(header.str("somebody.else"), Some("keep me"));
    assert_eq!(header.quantization(), Some("Q4_K_M"));
    assert_eq!(header.u32("general.quantization_version"), Some(2));
    let last = header.tensors.iter().max_by_key(|tensor| tensor.offset).expect("tensors");
    let end = header.data_offset + last.offset + last.byte_len().expect("a known type");
    assert_eq!(end, len, "nothing stands behind the last tensor");
}

#[test]
fn progress_counts_every_weight_once_and_can_stop_the_work() {
    let mut heard = Vec::new();
    let mut out = tempfile::tempfile().expect("there is room");
    let parts = || vec![part("m.gguf", TINY_HIVE)];
    quantize(parts(), Quantization::Q4_0, &mut out, &mut |done, total| {
        heard.push((done, total));
        ControlFlow::Continue(())
    })
    .expect("it is a model");
    assert!(heard.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(heard.last(), Some(&(2_706_624, 2_706_624)));
    let stopped =
        quantize(parts(), Quantization::Q4_0, &mut out, &mut |_, _| ControlFlow::Break(()));
    let Err(EngineError::Io(error)) = stopped else { panic!("{stopped:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let mut file = Tiny::new("llama").file();
    let tail = file.len() - 256..;
    file[tail].fill(0xff);
    let mut out = tempfile::tempfile().expect("there is room");
    let error = quantize(vec![part("m.gguf", &file)], Quantization::Q8_0, &mut out, &mut on);
    assert!(error.expect_err("NaN").to_string().contains("not numbers"));
}

#[test]
fn gemma_with_8_bits_is_as_surprised_as_before() {
    let Some(gemma) = testing::gemma() else { return };
    let before = surprise(gemma.try_clone().expect("a file"), EIFFEL);
    let parts = vec![Part { path: "gemma.gguf".to_owned(), file: gemma, gate: None }];
    let out = quantised(parts, Quantization::Q8_0);
    let after = surprise(out.try_clone().expect("a file"), EIFFEL);
    assert!((after / before - 1.0).abs() < 0.01, "{before} {after}");
    let mut engine =
        load(vec![Part { path: "m.gguf".to_owned(), file: out, gate: None }]).expect("it loads");
    let text = continuation(&mut *engine, "The capital of France is", 11);
    assert_eq!(text, " the capital of the country of France. It is the");
}

/// Most of its rows are 640 wide, which no block of 256 divides.
#[test]
fn gemma_with_4_bits_still_writes_english() {
    let Some(gemma) = testing::gemma() else { return };
    let before = surprise(gemma.try_clone().expect("a file"), EIFFEL);
    let parts = vec![Part { path: "gemma.gguf".to_owned(), file: gemma, gate: None }];
    let after = surprise(quantised(parts, Quantization::Q4K), EIFFEL);
    assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
}
