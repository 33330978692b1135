//! What `docs/wire.md` promises, held in place: golden vectors, hostile bytes, limits, signatures.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod cbor;
mod hostile;
mod limits;
mod membership;
mod properties;
mod samples;
mod signatures;
mod vectors;

/// A vector file's text: keys in their order, whichever order the build's JSON library keeps.
fn pretty<T: serde::Serialize + ?Sized>(value: &T) -> String {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
            Value::Object(fields) => {
                let fields: std::collections::BTreeMap<String, Value> =
                    fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
                Value::Object(fields.into_iter().collect())
            }
            other => other,
        }
    }
    let value = sorted(serde_json::to_value(value).unwrap());
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}
