//! Paths in a tree, safe to join to a directory on Linux, macOS and Windows.
//!
//! The only door from a peer's text to a path of ours. What passes is relative, normalised (NFC),
//! goes nowhere but down, and means the same file on every platform.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::limits::{PATH_COMPONENT_LEN, PATH_DEPTH, PATH_LEN};

/// A checked path: components of 1 to 255 bytes, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreePath(String);

/// Why a text is not a path that a tree may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Empty, or longer than any platform takes.
    #[error("a path has 1 to {PATH_LEN} bytes, this has {len}")]
    Length {
        /// Its bytes.
        len: usize,
    },
    /// Deeper than allowed.
    #[error("a path has at most {PATH_DEPTH} components, this has {depth}")]
    Depth {
        /// Its components.
        depth: usize,
    },
    /// A component of no bytes: a leading, trailing or doubled `/`.
    #[error("a component is empty")]
    EmptyComponent,
    /// A component that is too long.
    #[error("a component has at most {PATH_COMPONENT_LEN} bytes, this has {len}")]
    ComponentLength {
        /// Its bytes.
        len: usize,
    },
    /// `.` or `..`.
    #[error("`{component}` goes elsewhere")]
    Dots {
        /// The component.
        component: String,
    },
    /// A character that some platform forbids, or that deceives a reader.
    #[error("the character `{}` is not allowed in a path", char.escape_unicode())]
    Character {
        /// The first such character.
        char: char,
    },
    /// Windows drops a trailing dot or space, so two paths would be one file.
    #[error("`{component}` ends in a dot or a space")]
    TrailingDotOrSpace {
        /// The component.
        component: String,
    },
    /// A name that is a device on Windows.
    #[error("`{component}` is a device on Windows")]
    Device {
        /// The component.
        component: String,
    },
    /// Not in the normal form NFC.
    #[error("not in Unicode normal form C")]
    NotNfc,
}

impl TreePath {
    /// The path as text, components joined by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What a file system that ignores case sees: two paths with the same folding cannot both be.
    pub fn folded(&self) -> String {
        caseless::default_case_fold_str(&self.0).nfc().collect()
    }
}

/// Characters that reorder text or are invisible: U+061C, the marks and embeddings of U+200B to
/// U+200F, U+2028 to U+202E, U+2060 to U+2069, and the byte order mark.
pub(crate) fn deceives(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component).trim_end();
    let stem = stem.to_ascii_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    // COM¹, COM² and COM³ are devices too.
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    port.is_some_and(|rest| {
        let mut chars = rest.chars();
        matches!((chars.next(), chars.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

impl FromStr for TreePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() || text.len() > PATH_LEN {
            return Err(PathError::Length { len: text.len() });
        }
        let depth = text.split('/').count();
        if depth > PATH_DEPTH {
            return Err(PathError::Depth { depth });
        }
        for component in text.split('/') {
            let owned = || component.to_owned();
            if component.is_empty() {
                return Err(PathError::EmptyComponent);
            }
            if component.len() > PATH_COMPONENT_LEN {
                return Err(PathError::ComponentLength { len: component.len() });
            }
            if matches!(component, "." | "..") {
                return Err(PathError::Dots { component: owned() });
            }
            let forbidden =
                |char: &char| char.is_control() || deceives(*char) || "\\:*?\"<>|".contains(*char);
            if let Some(char) = component.chars().find(forbidden) {
                return Err(PathError::Character { char });
            }
            if component.ends_with(['.', ' ']) {
                return Err(PathError::TrailingDotOrSpace { component: owned() });
            }
            if is_device(component) {
                return Err(PathError::Device { component: owned() });
            }
        }
        if !unicode_normalization::is_nfc(text) {
            return Err(PathError::NotNfc);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TreePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<TreePath> for String {
    fn from(path: TreePath) -> Self {
        path.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
