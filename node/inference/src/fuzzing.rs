//! What a model's files say, as `hive-fuzz` sees it: bytes in, and whether they were believed.

use std::io::Cursor;
use std::time::{Duration, UNIX_EPOCH};

use hive_api::{Chat, Message, Role, TemplateSource, Tool};

use crate::chat::{Calls, Read, Specials, Template};
use crate::config::recognise;
use crate::directory::vocabulary::{self, Sidecar};
use crate::tokenizer::Tokenizer;
use crate::{memory_needed, read_header, validate, writer};

/// Bytes of a chat that was written out at most, as [`Template`] promises.
const CHAT_LEN: usize = 1 << 20;

/// Reads all that a GGUF file says but its weights; whether it is a model that may be loaded.
///
/// # Panics
///
/// If a tensor of one is outside the file, or what its tokenizer makes of a text is not that text.
pub fn gguf_model(bytes: &[u8]) -> bool {
    let Ok((header, file_len)) = read_header(&mut Cursor::new(bytes)) else { return false };
    if validate::extents(&header, file_len).is_ok() {
        for tensor in &header.tensors {
            let start = header.data_offset + tensor.offset;
            let len = tensor.byte_len().expect("its extent was checked");
            assert!(start.checked_add(len).is_some_and(|end| end <= file_len), "outside the file");
        }
    }
    if let Ok(tokenizer) = Tokenizer::read(&header) {
        tokens_in_range(&tokenizer, "The quick <s> brown\n fox </s> \u{1f41d}");
    }
    let Ok(config) = recognise(&header) else { return false };
    let _ = memory_needed(&header, u64::MAX).map(|needed| needed.total(u64::MAX));
    validate::tensors(&header, &config, file_len).is_ok()
}

fn tokens_in_range(tokenizer: &Tokenizer, text: &str) {
    let Ok(tokens) = tokenizer.encode(text) else { return };
    assert!(tokens.iter().all(|&id| (id as usize) < tokenizer.len()), "a token that is none");
    assert!(tokens.iter().all(|&id| tokenizer.bytes(id).len() <= tokenizer.longest().max(1)));
    let _ = tokenizer.specials();
}

/// Reads a `tokenizer.json` as one of so many tokens; whether it is one of the known pipelines.
///
/// # Panics
///
/// If what it says cannot be said by a GGUF header that is read back.
pub fn tokenizer_json(bytes: &[u8], n_tokens: u64) -> bool {
    let Ok(file) = vocabulary::parse(bytes) else { return false };
    let Ok(values) = vocabulary::values(&file, &Sidecar::default(), n_tokens) else {
        return false;
    };
    let header = read_header(&mut Cursor::new(writer::header(&values, &[])));
    let (header, _) = header.expect("what hive writes it reads");
    if let Ok(tokenizer) = Tokenizer::read(&header) {
        tokens_in_range(&tokenizer, "The quick brown\n fox \u{1f41d}");
    }
    true
}

/// Compiles a chat template and writes a chat with it; whether both went well.
///
/// # Panics
///
/// If more is written than may be.
pub fn chat_template(source: &str, said: &str) -> bool {
    let specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let specials = Specials::new("<s>".into(), "</s>".into(), specials.to_vec(), Vec::new());
    let Ok(template) = Template::parse(source, TemplateSource::File) else { return false };
    let messages = vec![
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, said),
        Message::new(Role::Assistant, "Hello."),
        Message::new(Role::User, "Bye"),
    ];
    let chat = Chat { messages, ..Chat::default() };
    let now = UNIX_EPOCH + Duration::from_secs(1_767_225_601);
    let Ok(text) = template.render(&chat, &specials, now) else { return false };
    assert!(text.len() <= CHAT_LEN, "a chat of {} bytes", text.len());
    true
}

/// Reads calls of tools out of an answer that comes in pieces of `piece` bytes or so; whether there
/// was one.
///
/// # Panics
///
/// If the pieces make a difference.
pub fn calls(answer: &str, piece: usize) -> bool {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: None,
        parameters: serde_json::Value::Null,
    };
    let tools = [tool("weather"), tool("add")];
    let mut calls = Calls::new(&tools, 1);
    let mut whole = calls.push(answer);
    whole.extend(calls.finish());

    let mut calls = Calls::new(&tools, 1);
    let mut pieces = Vec::new();
    let mut rest = answer;
    while !rest.is_empty() {
        let end = (piece.max(1)..rest.len()).find(|&at| rest.is_char_boundary(at));
        let (now, later) = rest.split_at(end.unwrap_or(rest.len()));
        pieces.extend(calls.push(now));
        rest = later;
    }
    pieces.extend(calls.finish());
    assert_eq!(joined(whole), joined(pieces), "the pieces make a difference");
    calls.any()
}

/// Texts that follow each other are one.
fn joined(reads: Vec<Read>) -> Vec<Read> {
    let mut out: Vec<Read> = Vec::new();
    for read in reads {
        match (out.last_mut(), read) {
            (Some(Read::Text(text)), Read::Text(more)) => text.push_str(&more),
            (_, read) => out.push(read),
        }
    }
    out
}
