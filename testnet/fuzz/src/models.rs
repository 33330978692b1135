//! What a model's files say beyond their headers' form: shapes, vocabularies, chat templates.

use hive_inference::fuzzing;

use crate::{Memory, Target, Verdict};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "gguf-model",
        promise: "shape, tensors and tokenizer of a GGUF file: tensors that are believed lie within the file; tokens are tokens",
        memory: Memory { fixed: 8 << 20, per_byte: 2_048 },
        run: |bytes| Verdict::of(fuzzing::gguf_model(bytes)),
    },
    Target {
        name: "config-json",
        promise: "`config.json` of a directory: a shape in range, and the memory that it needs",
        memory: Memory { fixed: 4 << 20, per_byte: 512 },
        run: config_json,
    },
    Target {
        name: "tokenizer-json",
        promise: "`tokenizer.json`: one of the known pipelines, said again in the values of a GGUF header",
        memory: Memory { fixed: 4 << 20, per_byte: 2_048 },
        run: tokenizer_json,
    },
    Target {
        name: "chat-template",
        promise: "ends, within its meter, with at most 1 MiB of text",
        // The meter of `hive-inference` lets a template spend 16 MiB of operands.
        memory: Memory { fixed: 256 << 20, per_byte: 64 << 10 },
        run: chat_template,
    },
    Target {
        name: "tool-calls",
        promise: "calls in an answer: the same in whatever pieces it comes, and nothing of it lost",
        memory: Memory { fixed: 1 << 20, per_byte: 4 << 10 },
        run: tool_calls,
    },
];

fn config_json(bytes: &[u8]) -> Verdict {
    let needed = hive_inference::memory_needed_by_config(bytes, 2, 4_096);
    if let Ok(needed) = &needed {
        assert!(needed.total(4) >= needed.total(1));
    }
    Verdict::of(needed.is_ok())
}

/// The input: the number of tokens in two bytes, and the file.
fn tokenizer_json(bytes: &[u8]) -> Verdict {
    let Some((n_tokens, json)) = bytes.split_first_chunk::<2>() else { return Verdict::Refused };
    Verdict::of(fuzzing::tokenizer_json(json, u64::from(u16::from_le_bytes(*n_tokens))))
}

/// The input: a template, and behind a zero what a user says.
fn chat_template(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused };
    let (source, said) = text.split_once('\0').unwrap_or((text, "<|im_end|> Hi"));
    Verdict::of(fuzzing::chat_template(source, said))
}

/// The input: how long pieces are, and an answer.
fn tool_calls(bytes: &[u8]) -> Verdict {
    let Some((piece, answer)) = bytes.split_first() else { return Verdict::Refused };
    let Ok(answer) = std::str::from_utf8(answer) else { return Verdict::Refused };
    Verdict::of(fuzzing::calls(answer, usize::from(*piece)))
}
