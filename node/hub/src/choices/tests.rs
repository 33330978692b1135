use expect_test::{Expect, expect};

use super::*;

#[track_caller]
fn check(paths: &str, expected: Expect) {
    let file = |line: &str| {
        let (path, size) = line.split_once(' ').unwrap_or((line, "1"));
        RepoFile { path: path.parse().unwrap(), size: size.parse().unwrap(), promise: None }
    };
    let files: Vec<_> = paths.split_whitespace().map(file).collect();
    let lines: Vec<String> = choices(&files)
        .iter()
        .map(|one| {
            let files: Vec<_> = one.files.iter().map(|file| file.path.as_str()).collect();
            format!("{} [{}] {}\n", one.file, one.label, files.join(" "))
        })
        .collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn each_gguf_is_a_model_and_its_parts_are_one() {
    check(
        "README.md tiny-Q8_0.gguf tiny-Q4_K_M.gguf tiny.gguf mmproj-F16.gguf tiny.imatrix.gguf
         big/b-Q6_K-00002-of-00002.gguf big/b-Q6_K-00001-of-00002.gguf
         torn-F16-00001-of-00002.gguf",
        expect![[r"
            tiny-Q4_K_M.gguf [Q4_K_M] tiny-Q4_K_M.gguf
            big/b-Q6_K-00001-of-00002.gguf [Q6_K] big/b-Q6_K-00001-of-00002.gguf big/b-Q6_K-00002-of-00002.gguf
            tiny-Q8_0.gguf [Q8_0] tiny-Q8_0.gguf
            tiny.gguf [GGUF] tiny.gguf
        "]],
    );
}

#[test]
fn safetensors_come_with_what_they_need_and_nothing_that_is_a_program() {
    check(
        "README.md LICENSE config.json generation_config.json tokenizer.json tokenizer.model merges.txt
         chat_template.jinja model-00001-of-00002.safetensors model-00002-of-00002.safetensors
         model.safetensors.index.json pytorch_model.bin pytorch_model.bin.index.json modeling.py
         consolidated.safetensors onnx/model.onnx 1_Pooling/config.json .gitattributes
         additional_chat_templates/tools.jinja",
        expect![[r"
            model.safetensors.index.json [safetensors] 1_Pooling/config.json LICENSE additional_chat_templates/tools.jinja chat_template.jinja config.json generation_config.json merges.txt model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.json tokenizer.model
        "]],
    );
}

#[test]
fn a_set_with_a_part_missing_is_no_model() {
    check("model-00001-of-00002.safetensors model.safetensors.index.json config.json", expect![""]);
}

#[test]
fn a_word_picks_by_path_then_by_name_then_by_quantisation() {
    let file = |path: &str| RepoFile { path: path.parse().unwrap(), size: 1, promise: None };
    let all = choices(&["a/x-Q8_0.gguf", "b/x-Q8_0.gguf", "x-Q4_0.gguf"].map(file));
    let picked =
        |word: &str| pick(&all, word).iter().map(|one| one.file.as_str()).collect::<Vec<_>>();
    assert_eq!(picked("a/x-Q8_0.gguf"), ["a/x-Q8_0.gguf"]);
    assert_eq!(picked("X-q4_0.gguf"), ["x-Q4_0.gguf"]);
    assert_eq!(picked("q4_0"), ["x-Q4_0.gguf"]);
    assert_eq!(picked("Q8_0"), ["a/x-Q8_0.gguf", "b/x-Q8_0.gguf"]);
    assert!(picked("Q2_K").is_empty());
}

#[test]
fn labels_are_read_out_of_names() {
    for (stem, expected) in [
        ("Qwen3-0.6B-Q8_0", "Q8_0"),
        ("llama-3.2-1b-instruct-q4_k_m", "Q4_K_M"),
        ("gemma-3-270m-it-BF16", "BF16"),
        ("x.IQ2_XXS", "IQ2_XXS"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("Qwen3", "GGUF"),
    ] {
        assert_eq!(label(stem), expected, "{stem}");
    }
}

#[test]
fn pickles_are_named_as_what_they_are() {
    let file = |path: &str| RepoFile { path: path.parse().unwrap(), size: 1, promise: None };
    assert_eq!(
        refused_weights(&["a.txt", "pytorch_model.bin"].map(file)),
        Some("pytorch_model.bin")
    );
    assert_eq!(refused_weights(&["a.txt"].map(file)), None);
}

/// A listing of weights and of what stands beside them is multiplied with itself no further.
#[test]
fn many_weights_with_many_companions_are_bounded() {
    let file = |path: String| RepoFile { path: path.parse().unwrap(), size: 1, promise: None };
    let each = |i| [file(format!("{i}.safetensors")), file(format!("{i}.json"))];
    let files: Vec<_> = (0..500).flat_map(each).collect();
    let found = choices(&files);
    let total: usize = found.iter().map(|one| one.files.len()).sum();
    assert!(!found.is_empty() && total <= MEMBERS, "{total}");
}
