//! `hive config`: what holds, and where it comes from.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::failure::usage;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::settings::file::ConfigFile;
use crate::settings::keys::{self, KEYS, Key};
use crate::text::Table;

/// Show settings and where they come from, or change `config.toml`
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the value of a setting
    Get {
        /// Its name
        key: String,
    },
    /// Write a setting to `config.toml`; items of a list are separated by commas
    Set {
        /// Its name
        key: String,
        /// Its value
        value: String,
    },
    /// Take a setting out of `config.toml`
    Unset {
        /// Its name
        key: String,
    },
}

impl ConfigArgs {
    /// Whether it writes the file.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.action, Some(Action::Set { .. } | Action::Unset { .. }))
    }
}

fn find(name: &str) -> anyhow::Result<&'static Key> {
    keys::find(name).ok_or_else(|| {
        let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        usage(format!("there is no setting `{name}`"))
            .hint(format!("settings are {}", known.join(", ")))
            .into()
    })
}

/// Writes or removes a key, if what results can be read again.
pub(crate) fn change(args: &ConfigArgs, home: &Path, printer: &Printer) -> anyhow::Result<()> {
    let (name, value) = match &args.action {
        Some(Action::Set { key, value }) => (key, Some(value.as_str())),
        Some(Action::Unset { key }) => (key, None),
        Some(Action::Get { .. }) | None => return Ok(()),
    };
    let key = find(name)?;
    if let Some(value) = value {
        Settings::check(key, value)?;
    }
    let mut file = ConfigFile::load(home)?;
    file.set(key, value);
    file.save()?;
    if printer.json() {
        printer.object(&json!({ "key": name, "value": value.map(|value| shape(key, value)) }))?;
    } else {
        match value {
            Some(value) => printer.talk(format_args!("`{name}` is `{value}` now")),
            None => printer.talk(format_args!("`{name}` is not set now")),
        }
    }
    Ok(())
}

/// Prints one setting or all.
pub(crate) fn show(
    args: &ConfigArgs,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<()> {
    if let Some(Action::Get { key }) = &args.action {
        let key = find(key)?;
        let found = settings.origins.iter().find(|(known, ..)| known.name == key.name);
        let (_, value, source) = found.expect("every key of the table was resolved");
        if printer.json() {
            let source = source.to_string();
            let value = shape(key, value);
            printer.object(&json!({ "key": key.name, "value": value, "source": source }))?;
        } else {
            printer.data(value)?;
        }
        return Ok(());
    }
    if printer.json() {
        let mut all = Map::new();
        all.insert("home".to_owned(), json!({ "value": settings.home }));
        for (key, value, source) in &settings.origins {
            let entry = json!({ "value": shape(key, value), "source": source.to_string() });
            all.insert(key.name.to_owned(), entry);
        }
        return Ok(printer.object(&all)?);
    }
    printer.talk(format_args!("home: {}", settings.home.display()));
    let mut table = Table::new(["KEY", "FROM", "VALUE"]);
    for (key, value, source) in &settings.origins {
        table.row([key.name.to_owned(), source.to_string(), value.clone()]);
    }
    Ok(printer.data(table)?)
}

/// A value as JSON: an array for a list, a text otherwise.
fn shape(key: &Key, value: &str) -> Value {
    if key.list { keys::items(value).collect() } else { value.into() }
}
