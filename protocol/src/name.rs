//! Names that people give to models and nodes. Never a path, never trusted to be unique.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_LEN;

/// A name: `[A-Za-z0-9][A-Za-z0-9._:/@-]*`, at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Too long or empty.
    #[error("a name has 1 to {NAME_LEN} bytes, this has {len}")]
    Length {
        /// Its bytes.
        len: usize,
    },
    /// A character that names do not have.
    #[error("`{}` cannot stand there in a name: names start with a letter or digit and go on with letters, digits and `. _ : / @ -`", char.escape_default())]
    Character {
        /// The first such character.
        char: char,
    },
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > NAME_LEN {
            return Err(NameError::Length { len: text.len() });
        }
        let allowed = |at: usize, char: char| {
            char.is_ascii_alphanumeric() || (at > 0 && "._:/@-".contains(char))
        };
        match text.char_indices().find(|&(at, char)| !allowed(at, char)) {
            Some((_, char)) => Err(NameError::Character { char }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_rule_says() {
        for good in ["a", "gemma3:270m", "Qwen/Qwen3-0.6B@main", "9b_x.y", &"n".repeat(200)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".hidden",
            "-rf",
            "a b",
            "a\\b",
            "a\0",
            "ä",
            "a;b",
            "../x",
            "/etc",
            &"n".repeat(201),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
