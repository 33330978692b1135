//! Chats: what was said becomes the text that a model was trained on, and what a model says becomes
//! text and calls of tools.
//!
//! [`Templates`] finds the templates of a model, [`Template`] writes a chat out with one, and
//! [`Calls`] reads the answer. A template is a program that came with a stranger's file, and the
//! messages are a stranger's text: `meter` bounds what the program costs, `marker` keeps the text
//! from passing for tokens with a meaning.
//!
//! Never touches a file, a network or a clock: the time that a template may show is given.
//!
//! Invariant: whatever a template and a chat are, writing them out ends, soon and in bounded
//! memory, and a text of a message never becomes a special token.

mod builtin;
mod calls;
mod clock;
mod context;
mod find;
mod json;
mod library;
mod marker;
mod meter;
mod rewrite;
mod template;
mod tools;

pub(crate) use builtin::{Builtin, builtin};
pub(crate) use calls::{Calls, Read, belongs_to_call};
pub(crate) use find::Templates;
pub(crate) use marker::{MARKER, Specials, unmarked};
pub(crate) use template::Template;
pub(crate) use tools::forced;
