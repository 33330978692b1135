//! What the program runs with: flag > environment > `config.toml` > default, resolved once.
//!
//! [`keys::KEYS`] is the whole list: name, variable, default, and how a text becomes a setting. A
//! setting that is not in the table does not exist, so `hive config` cannot leave one out.

pub(crate) mod external;
pub(crate) mod file;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hive_api::{ErrorKind, HiveError, Visibility};

use crate::env;
use crate::failure::usage;
use file::ConfigFile;
use keys::{KEYS, Key};

/// Flags that set a key, by the key's name.
pub(crate) type Flags = BTreeMap<&'static str, String>;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment(&'static str),
    File,
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment ({name})"),
            Self::File => f.write_str("config.toml"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Whether to answer others' queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dht {
    Auto,
    Always,
    Never,
}

/// What a relay gives; what is `None` is as the node thinks best.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Whether circuits may carry models.
    pub(crate) allow_bulk: bool,
    /// How many bytes each then.
    pub(crate) circuit_bytes: Option<u64>,
    /// Ids of the peers that may use it; all if empty.
    pub(crate) allow: Vec<String>,
    pub(crate) peer_bytes: Option<u64>,
    pub(crate) peer_time: Option<Duration>,
    pub(crate) network_bytes: Option<u64>,
    pub(crate) network_time: Option<Duration>,
    pub(crate) reservations: Option<u32>,
    pub(crate) circuits: Option<u32>,
}

/// All settings, in the types that they are used in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) home: PathBuf,
    pub(crate) network: String,
    pub(crate) listen: Vec<String>,
    pub(crate) bootstrap: Vec<String>,
    pub(crate) external: Vec<String>,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) share: Visibility,
    pub(crate) name: Option<String>,
    pub(crate) mdns: bool,
    pub(crate) allow_private: bool,
    pub(crate) dht: Dht,
    /// Full addresses; [`Self::no_relays`] says that there shall be none at all.
    pub(crate) relay: Vec<String>,
    pub(crate) no_relays: bool,
    pub(crate) upnp: bool,
    pub(crate) lan_only: bool,
    pub(crate) metrics: Option<SocketAddr>,
    /// What `hive relay` gives; nothing else reads it.
    pub(crate) serving: Serving,
    /// The port of `hive relay` for WebSocket over TLS.
    pub(crate) wss: Option<u16>,
    pub(crate) wss_cert: Option<PathBuf>,
    pub(crate) wss_key: Option<PathBuf>,
    pub(crate) upload_limit: Option<u64>,
    pub(crate) quota: Option<u64>,
    pub(crate) reserve: Option<u64>,
    pub(crate) provider_timeout: Duration,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) model_memory: Option<u64>,
    pub(crate) places: u32,
    pub(crate) queue: u32,
    pub(crate) chat_history: bool,
    pub(crate) log: Option<String>,
    /// Each key's value as text and where it comes from, in the order of the table.
    pub(crate) origins: Vec<(&'static Key, String, Source)>,
}

impl Settings {
    /// Resolves every key for a home.
    pub(crate) fn resolve(
        home: PathBuf,
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, HiveError> {
        let file = ConfigFile::load(&home)?;
        let mut settings = Self::blank(home);
        for key in KEYS {
            let from_environment = match environment(key.env) {
                // A variable set to nothing is a variable not set, as scripts mean it.
                Some(value) if !value.is_empty() => Some(value.into_string().map_err(|_| {
                    usage(format!("the environment variable `{}` is not UTF-8", key.env))
                })?),
                _ => None,
            };
            let (text, source) = if let Some(text) = flags.get(key.name) {
                (text.clone(), Source::Flag)
            } else if let Some(text) = from_environment {
                (text, Source::Environment(key.env))
            } else if let Some(text) = file.get(key.name) {
                (text, Source::File)
            } else {
                (key.default.to_owned(), Source::Default)
            };
            (key.set)(&mut settings, &text).map_err(|why| {
                usage(format!("wrong value for `{}` ({source}): {why}", key.name))
            })?;
            settings.origins.push((key, text, source));
        }
        Ok(settings)
    }

    /// Whether a key has the value that it has if nobody says.
    pub(crate) fn is_default(&self, name: &str) -> bool {
        let mut keys = self.origins.iter();
        keys.any(|(key, _, source)| key.name == name && *source == Source::Default)
    }

    /// Whether a key's value stands in `config.toml`.
    pub(crate) fn is_in_file(&self, name: &str) -> bool {
        let mut keys = self.origins.iter();
        keys.any(|(key, _, source)| key.name == name && *source == Source::File)
    }

    /// Settings of which none is resolved.
    fn blank(home: PathBuf) -> Self {
        Self {
            home,
            network: String::new(),
            listen: Vec::new(),
            bootstrap: Vec::new(),
            external: Vec::new(),
            api: None,
            share: Visibility::Local,
            name: None,
            mdns: true,
            allow_private: false,
            dht: Dht::Auto,
            relay: Vec::new(),
            no_relays: false,
            upnp: true,
            lan_only: false,
            metrics: None,
            serving: Serving::default(),
            wss: None,
            wss_cert: None,
            wss_key: None,
            upload_limit: None,
            quota: None,
            reserve: None,
            provider_timeout: Duration::ZERO,
            keep_alive: None,
            model_memory: None,
            places: 1,
            queue: 0,
            chat_history: true,
            log: None,
            origins: Vec::new(),
        }
    }

    /// Whether a key takes a value; the reason if not.
    pub(crate) fn check(key: &Key, value: &str) -> Result<(), HiveError> {
        (key.set)(&mut Self::blank(PathBuf::new()), value)
            .map_err(|why| usage(format!("wrong value for `{}`: {why}", key.name)))
    }
}

/// The home directory: the flag, the environment, or where the platform keeps programs' data.
pub(crate) fn home(
    flag: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, HiveError> {
    let given = flag
        .map(Path::to_owned)
        .or_else(|| environment(env::HIVE_HOME).filter(|home| !home.is_empty()).map(PathBuf::from));
    let home = match given {
        Some(home) => home,
        None => directories::ProjectDirs::from("", "", "hive")
            .map(|directories| directories.data_dir().to_owned())
            .ok_or_else(|| {
                HiveError::new(ErrorKind::Usage, "there is no home directory to keep models in")
                    .hint(format!("say where with `--home DIR` or `{}`", env::HIVE_HOME))
            })?,
    };
    // A node may live longer than the directory that a command was started in.
    std::path::absolute(&home)
        .map_err(|error| HiveError::caused(ErrorKind::Usage, "the home is not a path", &error))
}

#[cfg(test)]
mod tests;
