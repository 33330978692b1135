//! What the real Gemma 3 270M says here and in llama.cpp (b11549, on the same file).

use std::fs::File;
use std::path::PathBuf;

use super::tests::{generate, greedy, run, run_all};
use super::*;
use crate::decoder::Cache;

/// 126 tokens of plain English.
const TEXT: &str = "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France. It \
is named after the engineer Gustave Eiffel, whose company designed and built the tower from \
1887 to 1889. It was built as the centrepiece of the 1889 World's Fair and has become a \
global cultural icon of France and one of the most recognisable structures in the world. The \
tower is 330 metres tall, about the same height as an 81-storey building, and it is the \
tallest structure in Paris. It was the first structure.";

/// Its tokens in llama.cpp.
const TOKENS: [u32; 126] = [
    2, 818, 94648, 25822, 563, 496, 82326, 236772, 2128, 18928, 18515, 580, 506, 50975, 569, 23156,
    528, 9079, 236764, 7001, 236761, 1030, 563, 7489, 1308, 506, 19042, 211718, 94648, 236764,
    5769, 2544, 5402, 532, 5284, 506, 18515, 699, 236743, 236770, 236828, 236828, 236832, 531,
    236743, 236770, 236828, 236828, 236819, 236761, 1030, 691, 5284, 618, 506, 9317, 15899, 529,
    506, 236743, 236770, 236828, 236828, 236819, 4109, 236789, 236751, 15519, 532, 815, 3291, 496,
    4185, 9226, 4822, 529, 7001, 532, 886, 529, 506, 1346, 182746, 9108, 528, 506, 1902, 236761,
    669, 18515, 563, 236743, 236800, 236800, 236771, 30762, 13030, 236764, 1003, 506, 1638, 3558,
    618, 614, 236743, 236828, 236770, 236772, 89815, 3788, 236764, 532, 625, 563, 506, 92900, 3904,
    528, 9079, 236761, 1030, 691, 506, 1171, 3904, 236761,
];

/// Its perplexity in llama.cpp, each token after all before it.
const PERPLEXITY: f64 = 6.529_119;

/// Texts that are hard to take apart, with their tokens in llama.cpp.
const HARD: [(&str, &[u32]); 10] = [
    ("Hello, world!", &[2, 9259, 236764, 1902, 236888]),
    ("  two spaces\n\n\nand lines\t\ttabs", &[2, 138, 13498, 9952, 109, 624, 4463, 255969, 39218]),
    (
        "na\u{ef}ve caf\u{e9} \u{2014} \u{ab}quoted\u{bb} \u{20ac}42.50",
        &[
            2, 1789, 238527, 560, 33443, 2192, 2789, 148758, 237167, 11361, 236812, 236778, 236761,
            236810, 236771,
        ],
    ),
    (
        "日本語のテキストと한국어, русский язык",
        &[2, 94951, 236945, 95830, 237032, 114216, 237430, 236764, 170362, 92093],
    ),
    (
        "fn main() {\n    println!(\"{:?}\", vec![1, 2, 3]);\n}",
        &[
            2, 15059, 1689, 825, 642, 107, 140, 4629, 236355, 125425, 23454, 24960, 236770, 236764,
            236743, 236778, 236764, 236743, 236800, 6284, 107, 236783,
        ],
    ),
    ("<start_of_turn>user\nHi<end_of_turn>\n", &[2, 105, 2364, 107, 10979, 106, 107]),
    ("\u{1f41d}\u{1f41d} swarm \u{7} \u{fffd}", &[2, 247894, 247894, 108035, 236743, 245, 58588]),
    ("<b>bold</b>          ten", &[2, 200, 15640, 209, 146, 1571]),
    (
        "aaaaaaaaaaaaaaaaaaaaaaaaaaa 1234567890",
        &[
            2, 128820, 128820, 128820, 72004, 236743, 236770, 236778, 236800, 236812, 236810,
            236825, 236832, 236828, 236819, 236771,
        ],
    ),
    ("\u{2581}literal \u{2581}\u{2581} marks", &[2, 37087, 236743, 236743, 236743, 12933]),
];

/// The model, if `scripts/get-gemma.sh` was run.
#[expect(clippy::print_stderr, reason = "a test that checks nothing has to say so")]
fn gemma() -> Option<Llama> {
    let default = || {
        let cache = std::env::var_os("HIVE_TEST_CACHE").map(PathBuf::from);
        let cache = cache
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/hive-test")))?;
        Some(cache.join("gemma-3-270m-q4_k_m.gguf"))
    };
    let path = std::env::var_os("HIVE_GEMMA").map(PathBuf::from).or_else(default)?;
    let Ok(file) = File::open(&path) else {
        eprintln!("SKIPPED: no {}; scripts/get-gemma.sh fetches it", path.display());
        return None;
    };
    Some(Llama::load(file, &EngineOptions::default()).expect("Gemma loads"))
}

#[test]
fn gemma_continues_as_it_does_in_llama_cpp() {
    let Some(mut gemma) = gemma() else { return };
    let (text, generated) = generate(&mut gemma, "The capital of France is", 12, &[]);
    assert_eq!(text, " the capital of the country of France. It is the largest");
    assert_eq!((generated.prompt_tokens, generated.generated_tokens), (6, 12));
}

#[test]
fn gemma_is_as_surprised_by_english_as_in_llama_cpp() {
    let Some(mut gemma) = gemma() else { return };
    assert_eq!(gemma.tokenize(TEXT).expect("it is text"), TOKENS);
    let perplexity = gemma.perplexity_of(&TOKENS).expect("it computes");
    assert!((perplexity / PERPLEXITY - 1.0).abs() < 0.02, "{perplexity}");
}

#[test]
fn gemma_takes_hard_texts_apart_as_llama_cpp_does() {
    let Some(gemma) = gemma() else { return };
    for (text, expected) in HARD {
        assert_eq!(gemma.tokenize(text).expect("it is text"), expected, "{text:?}");
    }
}

/// The window is 512 tokens: both sides of it, and a prompt of several pieces.
#[test]
fn gemma_reads_a_long_text_in_pieces_as_it_does_token_by_token() {
    let Some(gemma) = gemma() else { return };
    let tokens: Vec<u32> = TOKENS.iter().copied().cycle().take(540).collect();
    let read = |cache: &mut Cache, tokens: &[u32]| -> Vec<f32> {
        let stretch = Stretch { tokens, cache, rows: Rows::Last };
        let logits = gemma.decoder.forward(&mut [stretch]).expect("it computes");
        let logits = logits.expect("they were asked for").flatten_all();
        logits.and_then(|logits| logits.to_vec1()).expect("it is a row")
    };
    let mut cache = gemma.decoder.cache();
    let pieces = tokens.chunks(CHUNK).map(|part| read(&mut cache, part)).last();
    let (start, rest) = tokens.split_at(500);
    let mut cache = gemma.decoder.cache();
    for part in start.chunks(CHUNK) {
        read(&mut cache, part);
    }
    let single = rest.iter().map(|token| read(&mut cache, &[*token])).last();
    let (pieces, single) = (pieces.unwrap_or_default(), single.unwrap_or_default());
    assert_eq!((pieces.len(), single.len()), (262_144, 262_144));
    for (piece, single) in pieces.iter().zip(&single) {
        assert!((piece - single).abs() < 0.05, "{piece} {single}");
    }
}

/// Each of four texts is what it is alone, and a fifth prompt is read between their tokens.
#[test]
fn gemma_writes_texts_together_as_it_does_alone() {
    let Some(mut gemma) = gemma() else { return };
    let prompts = ["The capital of France is", "Once upon a time", "1, 2, 3, 4,", TEXT];
    let alone: Vec<String> =
        prompts.iter().map(|prompt| run(&mut gemma, greedy(*prompt, 16)).text).collect();
    let Some(mut fresh) = super::gemma_tests::gemma() else { return };
    let requests = prompts.iter().map(|prompt| greedy(*prompt, 16)).collect();
    let together: Vec<String> =
        run_all(&mut fresh, requests).into_iter().map(|ended| ended.text).collect();
    assert_eq!(together, alone);
}

#[test]
fn gemma_writes_the_same_from_a_remembered_prefix() {
    let Some(mut gemma) = gemma() else { return };
    let prompt = TEXT.repeat(6);
    let question = format!("{prompt} The tower");
    let first = run(&mut gemma, greedy(question.as_str(), 12));
    assert_eq!(first.generated().cached_tokens, 0);
    let again = run(&mut gemma, greedy(question.as_str(), 12));
    let generated = again.generated();
    assert_eq!(generated.cached_tokens, generated.prompt_tokens - 1);
    assert_eq!(again.text, first.text);
    // Another end of the same beginning.
    let other = format!("{prompt} In Berlin");
    let remembered = run(&mut gemma, greedy(other.as_str(), 12));
    assert!(700 < remembered.generated().cached_tokens, "{:?}", remembered.generated());
    let Some(mut fresh) = super::gemma_tests::gemma() else { return };
    assert_eq!(run(&mut fresh, greedy(other.as_str(), 12)).text, remembered.text);
}
