//! `config.toml` in the home. Written by `hive config set`, which keeps comments and order.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hive_api::{ErrorKind, HiveError};
use toml_edit::{Array, DocumentMut, Item, Value};

use super::keys::{self, Key};
use crate::failure::{unwritten, usage};

/// The file's name in the home.
const FILE: &str = "config.toml";

/// A configuration file that was read and whose keys are all known.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

impl ConfigFile {
    /// Reads a home's file; no file is an empty one.
    pub(crate) fn load(home: &Path) -> Result<Self, HiveError> {
        let path = home.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let message = format!("cannot read `{}`", path.display());
                return Err(HiveError::caused(ErrorKind::Failed, message, &error));
            }
        };
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let why = error.to_string();
            let why = why.lines().map(str::trim_end).collect::<Vec<_>>().join("; ");
            usage(format!("`{}` is not TOML: {why}", path.display()))
        })?;
        let file = Self { path, document };
        for (name, item) in file.document.iter() {
            if keys::find(name).is_none() {
                let known: Vec<_> = keys::KEYS.iter().map(|key| key.name).collect();
                let message = format!("`{}` has an unknown key `{name}`", file.path.display());
                return Err(usage(message).hint(format!("keys are {}", known.join(", "))));
            }
            if text_of(item).is_none() {
                let message = format!("`{name}` in `{}` has a strange type", file.path.display());
                return Err(usage(message));
            }
        }
        Ok(file)
    }

    /// A key's value as text; items of a list are separated by commas.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.document.get(name).and_then(text_of)
    }

    /// Sets a key, or removes it.
    pub(crate) fn set(&mut self, key: &Key, value: Option<&str>) {
        match value {
            None => {
                self.document.remove(key.name);
            }
            Some(text) if key.list => {
                let array: Array = keys::items(text).collect();
                self.put(key, Value::Array(array));
            }
            Some(text) => self.put(key, Value::from(text)),
        }
    }

    /// Keeps what is written around the old value.
    fn put(&mut self, key: &Key, mut value: Value) {
        match self.document.get_mut(key.name).and_then(Item::as_value_mut) {
            Some(old) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            None => self.document[key.name] = Item::Value(value),
        }
    }

    /// Writes the file; a crash leaves the old one or the new one.
    pub(crate) fn save(&self) -> Result<(), HiveError> {
        let write = || {
            let home = self.path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(home)?;
            let mut next = tempfile::NamedTempFile::new_in(home)?;
            next.write_all(self.document.to_string().as_bytes())?;
            next.as_file().sync_all()?;
            next.persist(&self.path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error: io::Error| {
            unwritten(format!("cannot write `{}`", self.path.display()), &error)
        })
    }
}

fn text_of(item: &Item) -> Option<String> {
    match item.as_value()? {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(on) => Some(if *on.value() { "on" } else { "off" }.to_owned()),
        Value::Array(array) => {
            let items: Option<Vec<_>> = array.iter().map(Value::as_str).collect();
            Some(items?.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::InlineTable(_) => None,
    }
}
