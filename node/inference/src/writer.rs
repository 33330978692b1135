//! Writes the header of a GGUF file: what [`hive_protocol::gguf`] reads.
//!
//! Version 3, little endian. The weights follow it, each tensor at the offset that its entry names;
//! whoever calls this writes them.
//!
//! Invariant: what is written here is read back as the same values and tensors.

use hive_protocol::gguf::{Array, DEFAULT_ALIGNMENT, Kind, MAGIC, TensorInfo, Value};

/// A tensor that will be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its name in GGUF's words.
    pub(crate) name: String,
    /// Its dimensions, the fastest running first.
    pub(crate) dims: Vec<u64>,
    /// How its elements are stored.
    pub(crate) kind: Kind,
}

impl Entry {
    /// Describes the tensor as a header does, at an offset.
    pub(crate) fn info(&self, offset: u64) -> TensorInfo {
        let Self { name, dims, kind } = self;
        TensorInfo { name: name.clone(), dims: dims.clone(), kind: number(*kind), offset }
    }
}

/// Tensors one behind the other, each where the alignment allows; and where the last one ends.
///
/// None if a tensor's rows do not fill blocks of its type, or if they do not fit into 64 bits.
pub(crate) fn lay_out(entries: &[Entry]) -> Option<(Vec<TensorInfo>, u64)> {
    let mut end = 0_u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let tensor = entry.info(end.checked_next_multiple_of(DEFAULT_ALIGNMENT)?);
        end = tensor.offset.checked_add(tensor.byte_len()?)?;
        tensors.push(tensor);
    }
    Some((tensors, end))
}

/// Returns the bytes of a header, padded to where the weights begin.
///
/// `general.alignment` is left out: the weights are laid out by the default.
pub(crate) fn header(values: &[(String, Value)], tensors: &[TensorInfo]) -> Vec<u8> {
    let values: Vec<_> = values.iter().filter(|(key, _)| key != "general.alignment").collect();
    let mut out = MAGIC.to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    for (key, value) in values {
        text(&mut out, key);
        write_value(&mut out, value);
    }
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.dims.len() as u32).to_le_bytes());
        for dim in &tensor.dims {
            out.extend(dim.to_le_bytes());
        }
        out.extend(tensor.kind.to_le_bytes());
        out.extend(tensor.offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    out
}

/// The number of a type in the format.
pub(crate) fn number(kind: Kind) -> u32 {
    // The table is the protocol's; every type that it knows has a number under 40.
    (0..40).find(|&n| Kind::from_u32(n) == Some(kind)).expect("the protocol numbers its types")
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let mut tagged = |tag: u32, bytes: &[u8]| {
        out.extend(tag.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(n) => tagged(0, &n.to_le_bytes()),
        Value::I8(n) => tagged(1, &n.to_le_bytes()),
        Value::U16(n) => tagged(2, &n.to_le_bytes()),
        Value::I16(n) => tagged(3, &n.to_le_bytes()),
        Value::U32(n) => tagged(4, &n.to_le_bytes()),
        Value::I32(n) => tagged(5, &n.to_le_bytes()),
        Value::F32(n) => tagged(6, &n.to_le_bytes()),
        Value::Bool(b) => tagged(7, &[u8::from(*b)]),
        Value::Str(string) => {
            tagged(8, &[]);
            text(out, string);
        }
        Value::Array(array) => {
            tagged(9, &[]);
            write_array(out, array);
        }
        Value::U64(n) => tagged(10, &n.to_le_bytes()),
        Value::I64(n) => tagged(11, &n.to_le_bytes()),
        Value::F64(n) => tagged(12, &n.to_le_bytes()),
    }
}

fn write_array(out: &mut Vec<u8>, array: &Array) {
    let start = |out: &mut Vec<u8>, tag: u32| {
        out.extend(tag.to_le_bytes());
        out.extend((array.len() as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($tag:expr, $items:expr) => {{
            start(out, $tag);
            for item in $items {
                out.extend(item.to_le_bytes());
            }
        }};
    }
    match array {
        Array::U8(items) => numbers!(0, items),
        Array::I8(items) => numbers!(1, items),
        Array::U16(items) => numbers!(2, items),
        Array::I16(items) => numbers!(3, items),
        Array::U32(items) => numbers!(4, items),
        Array::I32(items) => numbers!(5, items),
        Array::F32(items) => numbers!(6, items),
        Array::Bool(items) => {
            start(out, 7);
            out.extend(items.iter().map(|&item| u8::from(item)));
        }
        Array::Str(items) => {
            start(out, 8);
            for item in items.iter() {
                text(out, item);
            }
        }
        Array::U64(items) => numbers!(10, items),
        Array::I64(items) => numbers!(11, items),
        Array::F64(items) => numbers!(12, items),
    }
}

#[cfg(test)]
mod tests;
