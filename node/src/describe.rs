//! What a file says of itself, read from its header: the part of a card that nobody has to believe.

use std::fs::File;
use std::io::Read;

use hive_protocol::gguf;
use hive_protocol::safetensors;

/// Bytes of a file that are looked at in the first try.
const PREFIX: u64 = 1 << 20;

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) format: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) quantization: Option<String>,
    pub(crate) parameters: Option<u64>,
    pub(crate) context_length: Option<u64>,
    pub(crate) license: Option<String>,
}

/// Reads what a file's header says; nothing when it has none that is known.
pub(crate) fn describe(file: &mut File, len: u64) -> std::io::Result<Description> {
    let mut prefix = Vec::new();
    let mut wanted = PREFIX;
    loop {
        let more = wanted.min(len).saturating_sub(prefix.len() as u64);
        if file.by_ref().take(more).read_to_end(&mut prefix)? == 0 && more > 0 {
            return Ok(Description::default());
        }
        if prefix.starts_with(&gguf::MAGIC) {
            match gguf::parse(&prefix, len) {
                Ok(gguf::Parse::NeedMore { at_least }) => wanted = at_least.max(wanted * 2),
                Ok(gguf::Parse::Done(header)) => return Ok(of_gguf(&header)),
                Err(_) => return Ok(Description::default()),
            }
        } else {
            match safetensors::parse(&prefix, len) {
                safetensors::Parse::NeedMore(at_least) => wanted = at_least,
                safetensors::Parse::Header(_) => {
                    let format = Some("safetensors".to_owned());
                    return Ok(Description { format, ..Description::default() });
                }
                safetensors::Parse::No => return Ok(Description::default()),
            }
        }
    }
}

fn of_gguf(header: &gguf::Header) -> Description {
    // A peer may show this; control characters could move its cursor.
    let clean =
        |text: &str| text.chars().filter(|char| !char.is_control()).take(200).collect::<String>();
    Description {
        format: Some("gguf".into()),
        architecture: header.architecture().map(clean),
        quantization: header.quantization().map(str::to_owned),
        parameters: Some(header.parameters()).filter(|&n| n > 0),
        context_length: header.context_length().map(u64::from),
        license: header.str("general.license").map(clean),
    }
}
