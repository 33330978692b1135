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
/// Full addresses of relays to be reached through, separated by commas, or `none`.
pub(crate) const HIVE_RELAY: &str = "HIVE_RELAY";
/// Whether to ask the router to let others in: `on` or `off`.
pub(crate) const HIVE_UPNP: &str = "HIVE_UPNP";
/// Whether no packet may leave the private ranges: `on` or `off`.
pub(crate) const HIVE_LAN_ONLY: &str = "HIVE_LAN_ONLY";
/// Address at which figures are served without a token, or `off`.
pub(crate) const HIVE_METRICS: &str = "HIVE_METRICS";
/// Whether a relay's circuits may carry models, and how much each: `off`, `on` or a size.
pub(crate) const HIVE_ALLOW_BULK: &str = "HIVE_ALLOW_BULK";
/// Peers that may use this relay, separated by commas; all if there is none.
pub(crate) const HIVE_ALLOW_PEERS: &str = "HIVE_ALLOW_PEERS";
/// Bytes an hour that one peer may move through this relay, or `auto`.
pub(crate) const HIVE_PEER_BUDGET: &str = "HIVE_PEER_BUDGET";
/// Time an hour of one peer's circuits, or `auto`.
pub(crate) const HIVE_PEER_TIME: &str = "HIVE_PEER_TIME";
/// Bytes an hour that one network of addresses may move through this relay, or `auto`.
pub(crate) const HIVE_NETWORK_BUDGET: &str = "HIVE_NETWORK_BUDGET";
/// Time an hour of one network's circuits, or `auto`.
pub(crate) const HIVE_NETWORK_TIME: &str = "HIVE_NETWORK_TIME";
/// Peers that this relay keeps reachable at once, or `auto`.
pub(crate) const HIVE_MAX_RESERVATIONS: &str = "HIVE_MAX_RESERVATIONS";
/// Circuits of this relay at once, or `auto`.
pub(crate) const HIVE_MAX_CIRCUITS: &str = "HIVE_MAX_CIRCUITS";
/// Port for WebSocket over TLS, or `off`.
pub(crate) const HIVE_WSS: &str = "HIVE_WSS";
/// File with the certificate that WebSocket over TLS shows.
pub(crate) const HIVE_WSS_CERT: &str = "HIVE_WSS_CERT";
/// File with its key.
pub(crate) const HIVE_WSS_KEY: &str = "HIVE_WSS_KEY";
/// Bytes a second served at most, or `off`.
pub(crate) const HIVE_UPLOAD_LIMIT: &str = "HIVE_UPLOAD_LIMIT";
/// Bytes that the store may take, or `off`.
pub(crate) const HIVE_QUOTA: &str = "HIVE_QUOTA";
/// Bytes of the disk that fetches leave free, or `auto`.
pub(crate) const HIVE_RESERVE: &str = "HIVE_RESERVE";
/// How long a fetch looks for somebody who has the model.
pub(crate) const HIVE_PROVIDER_TIMEOUT: &str = "HIVE_PROVIDER_TIMEOUT";
/// How long a model stays loaded after its last request, or `forever`.
pub(crate) const HIVE_KEEP_ALIVE: &str = "HIVE_KEEP_ALIVE";
/// Bytes of memory that models may take together, or `auto`.
pub(crate) const HIVE_MODEL_MEMORY: &str = "HIVE_MODEL_MEMORY";
/// Requests that a model works at together.
pub(crate) const HIVE_PLACES: &str = "HIVE_PLACES";
/// Requests that may wait for a model.
pub(crate) const HIVE_QUEUE: &str = "HIVE_QUEUE";
/// Whether chats keep what was typed for the arrow keys: `on` or `off`.
pub(crate) const HIVE_CHAT_HISTORY: &str = "HIVE_CHAT_HISTORY";
/// What to log, in the language of `tracing_subscriber::EnvFilter`.
pub(crate) const HIVE_LOG: &str = "HIVE_LOG";
/// Set to anything: no colours (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: no colours, no progress bars.
pub(crate) const TERM: &str = "TERM";
/// Address of the model hub to ask in place of the public one.
pub(crate) const HF_ENDPOINT: &str = "HF_ENDPOINT";
/// Token that the hub is shown.
pub(crate) const HF_TOKEN: &str = "HF_TOKEN";
/// File with that token, if it is not where Hugging Face's tools put it.
pub(crate) const HF_TOKEN_PATH: &str = "HF_TOKEN_PATH";
/// Directory of Hugging Face's tools: token and cache.
pub(crate) const HF_HOME: &str = "HF_HOME";
/// Their cache, if it is elsewhere.
pub(crate) const HF_HUB_CACHE: &str = "HF_HUB_CACHE";
/// Whether to ask no hub: `1`.
pub(crate) const HF_HUB_OFFLINE: &str = "HF_HUB_OFFLINE";
/// Directory of caches, where `HF_HOME` is by default.
pub(crate) const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Directory of Ollama's models.
pub(crate) const OLLAMA_MODELS: &str = "OLLAMA_MODELS";
