//! The golden vectors and hostile blocks of `protocol/tests/vectors`.

use std::path::Path;

use serde_json::Value;

/// Every byte string that stands in them.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/tests/vectors");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        collect(&serde_json::from_str(&text).unwrap(), &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        // Hexadecimal, an invite code, or an id.
        Value::String(text) => {
            found.push(text.as_bytes().to_vec());
            found.extend(hex::decode(text).ok().filter(|bytes| !bytes.is_empty()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
