//! What a template may spend.
//!
//! minijinja counts instructions, and an instruction can double a text: thirty of them make a
//! gigabyte, and two lists that hold themselves twice, forty times over, are compared for years. So
//! every operation whose cost depends on its operands pays for their size first, out of one purse
//! that is never filled again. What is spent bounds the memory too: nothing is made that was not
//! paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// What each element of a list or map costs beside what it holds: the size of a value, twice.
const ELEMENT: u64 = 64;

/// Lists in lists in lists, at most. JSON schemas of tools are the deepest that templates see.
const DEPTH: usize = 100;

/// A purse, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Pays.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), Error> {
        let paid = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        paid.map(|_| ()).map_err(|_| {
            Error::new(ErrorKind::OutOfFuel, "the template makes more text than a chat needs")
        })
    }

    /// Pays for a text, or for as many elements as a list has, not for what they hold.
    pub(super) fn shallow(&self, value: &Value) -> Result<(), Error> {
        match value.as_str() {
            Some(text) => self.charge(text.len() as u64 + 1),
            None if has_elements(value) => self.charge(ELEMENT * value.len().unwrap_or(1) as u64),
            None => Ok(()),
        }
    }

    /// Pays for all that a value holds, as often as it holds it.
    pub(super) fn deep(&self, value: &Value) -> Result<(), Error> {
        self.weigh(value, 0, true)
    }

    /// Pays for what becomes part of a namespace, which must not hold one: a namespace that holds
    /// itself is never freed.
    pub(super) fn stored(&self, value: &Value) -> Result<(), Error> {
        if has_elements(value) { self.weigh(value, 0, false) } else { Ok(()) }
    }

    fn weigh(&self, value: &Value, depth: usize, namespaces: bool) -> Result<(), Error> {
        if DEPTH < depth {
            return Err(Error::new(ErrorKind::InvalidOperation, "lists are nested too deep"));
        }
        if let Some(text) = value.as_str() {
            // Inside a list a character may be written as an escape of six.
            let each = if depth == 0 { 1 } else { 6 };
            return self.charge(each * text.len() as u64 + 1);
        }
        if !has_elements(value) {
            return self.charge(1);
        }
        if !namespaces && value.as_object().is_some_and(|o| o.type_name().ends_with("Namespace")) {
            let reason = "a namespace in a namespace is not supported in a chat template";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        let map = value.kind() == ValueKind::Map;
        for item in value.try_iter()?.checked() {
            let item = item?;
            self.charge(ELEMENT)?;
            if map {
                self.weigh(&value.get_item(&item)?, depth + 1, namespaces)?;
            }
            self.weigh(&item, depth + 1, namespaces)?;
        }
        Ok(())
    }

    /// Makes a list of what would be worked out again each time it is looked at.
    pub(super) fn collect(&self, value: Value) -> Result<Value, Error> {
        if !matches!(value.kind(), ValueKind::Iterable | ValueKind::Seq) || value.is_tuple() {
            return Ok(value);
        }
        let mut list = Vec::new();
        for item in value.try_iter()?.checked() {
            self.charge(ELEMENT)?;
            list.push(item?);
        }
        Ok(Value::from(list))
    }
}

fn has_elements(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}
