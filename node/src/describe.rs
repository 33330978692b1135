//! What a file says of itself, read from its header: the part of a card that nobody has to believe.

use std::fs::File;
use std::io::{Read, Seek as _};

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

/// What a file is by its first bytes.
enum Head {
    Gguf(Result<gguf::Header, gguf::GgufError>),
    Safetensors,
    Unknown,
}

/// Reads what a file's header says; nothing when it has none that is known.
pub(crate) fn describe(file: &mut File, len: u64) -> std::io::Result<Description> {
    Ok(match head(file, len)? {
        Head::Gguf(Ok(header)) => of_gguf(&header),
        Head::Safetensors => {
            Description { format: Some("safetensors".to_owned()), ..Description::default() }
        }
        Head::Gguf(Err(_)) | Head::Unknown => Description::default(),
    })
}

/// Why a file that says it is GGUF cannot be run: its header is none, or what the header names is not
/// all there.
pub(crate) fn fault(file: &mut File, len: u64) -> std::io::Result<Option<String>> {
    let mut magic = [0; gguf::MAGIC.len()];
    if len < magic.len() as u64 {
        return Ok(None);
    }
    file.read_exact(&mut magic)?;
    if magic != gguf::MAGIC {
        return Ok(None);
    }
    file.rewind()?;
    let header = match head(file, len)? {
        Head::Gguf(Ok(header)) => header,
        Head::Gguf(Err(error)) => return Ok(Some(error.to_string())),
        Head::Safetensors | Head::Unknown => return Ok(None),
    };
    let end_of = |tensor: &gguf::TensorInfo| {
        (header.data_offset + tensor.offset).saturating_add(tensor.byte_len().unwrap_or(0))
    };
    let end = header.tensors.iter().map(end_of).max().unwrap_or(0);
    Ok((end > len).then(|| format!("cut off, it has {len} of at least {end} bytes")))
}

fn head(file: &mut File, len: u64) -> std::io::Result<Head> {
    let mut prefix = Vec::new();
    let mut wanted = PREFIX;
    loop {
        let more = wanted.min(len).saturating_sub(prefix.len() as u64);
        if file.by_ref().take(more).read_to_end(&mut prefix)? == 0 && more > 0 {
            return Ok(Head::Unknown);
        }
        if prefix.starts_with(&gguf::MAGIC) {
            match gguf::parse(&prefix, len) {
                Ok(gguf::Parse::NeedMore { at_least }) => wanted = at_least.max(wanted * 2),
                Ok(gguf::Parse::Done(header)) => return Ok(Head::Gguf(Ok(header))),
                Err(error) => return Ok(Head::Gguf(Err(error))),
            }
        } else {
            match safetensors::parse(&prefix, len) {
                safetensors::Parse::NeedMore(at_least) => wanted = at_least,
                safetensors::Parse::Header(_) => return Ok(Head::Safetensors),
                safetensors::Parse::No => return Ok(Head::Unknown),
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
