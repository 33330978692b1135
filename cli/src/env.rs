//! Every environment variable that `hive` reads. Nothing else in the binary names one.

/// Directory of the node: keys, index, models, configuration.
pub(crate) const HIVE_HOME: &str = "HIVE_HOME";
/// Name of the public network to be in.
pub(crate) const HIVE_NETWORK: &str = "HIVE_NETWORK";
/// Multiaddrs to listen on, separated by commas.
pub(crate) const HIVE_LISTEN: &str = "HIVE_LISTEN";
/// Full addresses of nodes to join through, separated by commas.
pub(crate) const HIVE_BOOTSTRAP: &str = "HIVE_BOOTSTRAP";
/// Addresses that others reach this node under, separated by commas.
pub(crate) const HIVE_EXTERNAL: &str = "HIVE_EXTERNAL";
/// Address of the local API, or `off`.
pub(crate) const HIVE_API: &str = "HIVE_API";
/// Who may have what is added without saying: `public`, `unlisted` or `local`.
pub(crate) const HIVE_SHARE: &str = "HIVE_SHARE";
/// What the node calls itself.
pub(crate) const HIVE_NAME: &str = "HIVE_NAME";
/// Whether to find nodes on the local network: `on` or `off`.
pub(crate) const HIVE_MDNS: &str = "HIVE_MDNS";
/// Whether to announce and dial loopback and private addresses: `on` or `off`.
pub(crate) const HIVE_ALLOW_PRIVATE: &str = "HIVE_ALLOW_PRIVATE";
/// Whether to answer others' queries: `auto`, `always` or `never`.
pub(crate) const HIVE_DHT: &str = "HIVE_DHT";
/// Bytes a second served at most, or `off`.
pub(crate) const HIVE_UPLOAD_LIMIT: &str = "HIVE_UPLOAD_LIMIT";
/// Bytes that the store may take, or `off`.
pub(crate) const HIVE_QUOTA: &str = "HIVE_QUOTA";
/// Bytes of the disk that fetches leave free, or `auto`.
pub(crate) const HIVE_RESERVE: &str = "HIVE_RESERVE";
/// How long a fetch looks for somebody who has the model.
pub(crate) const HIVE_PROVIDER_TIMEOUT: &str = "HIVE_PROVIDER_TIMEOUT";
/// What to log, in the language of `tracing_subscriber::EnvFilter`.
pub(crate) const HIVE_LOG: &str = "HIVE_LOG";
/// Set to anything: no colours (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: no colours, no progress bars.
pub(crate) const TERM: &str = "TERM";
