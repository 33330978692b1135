//! Numbers of requests: JSON has none that is infinite, and neither may what is read of it.
//!
//! JSON writes 1e39 as it is, and as an `f32` that is infinity, which would be written as `null` and
//! then not be read again. So it is refused where it is read, with its name.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// One number or several.
pub(crate) trait Numbers {
    /// Whether none is infinite or no number.
    fn are_finite(&self) -> bool;
}

impl Numbers for f32 {
    fn are_finite(&self) -> bool {
        self.is_finite()
    }
}

impl<T: Numbers> Numbers for Option<T> {
    fn are_finite(&self) -> bool {
        self.as_ref().is_none_or(Numbers::are_finite)
    }
}

impl<K, T: Numbers> Numbers for BTreeMap<K, T> {
    fn are_finite(&self) -> bool {
        self.values().all(Numbers::are_finite)
    }
}

/// For `deserialize_with`: refuses a number that is too large for its type.
pub(crate) fn finite<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Numbers,
{
    let read = T::deserialize(from)?;
    if read.are_finite() { Ok(read) } else { Err(D::Error::custom("a number that is too large")) }
}

#[cfg(test)]
mod tests {
    use crate::{RunRequest, Sampling};

    /// What the fuzz target `api-json` holds, and did not: it was read as infinity, which was
    /// written as `null`.
    #[test]
    fn a_number_beyond_its_type_is_refused_and_not_read_as_infinity() {
        for field in [
            r#""temperature":1e39"#,
            r#""top_p":-1e39"#,
            r#""min_p":1e300"#,
            r#""repetition_penalty":1e39"#,
            r#""presence_penalty":1e39"#,
            r#""frequency_penalty":-1e39"#,
            r#""logit_bias":{"7":1e39}"#,
        ] {
            let body =
                format!(r#"{{"model":"m","prompt":{{"text":"Hi"}},"sampling":{{{field}}}}}"#);
            let error = serde_json::from_str::<RunRequest>(&body).unwrap_err().to_string();
            assert!(error.starts_with("a number that is too large"), "{field}: {error}");
        }
        let largest = Sampling { temperature: f32::MAX, top_p: None, ..Sampling::default() };
        let json = serde_json::to_string(&largest).unwrap();
        assert_eq!(serde_json::from_str::<Sampling>(&json).unwrap(), largest);
        assert_eq!(serde_json::from_str::<Sampling>("{}").unwrap(), Sampling::default());
    }
}
