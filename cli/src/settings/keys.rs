//! The table of settings.

use std::net::SocketAddr;
use std::time::Duration;

use hive_api::Visibility;

use super::{Dht, Settings, external};
use crate::env;
use crate::units;

/// Bytes of a node's name at most.
const NODE_NAME_LEN: usize = 64;

/// A setting.
pub(crate) struct Key {
    /// Its name in `config.toml` and in `hive config`.
    pub(crate) name: &'static str,
    /// The environment variable that sets it.
    pub(crate) env: &'static str,
    /// What it is if nobody says.
    pub(crate) default: &'static str,
    /// Whether it is a list: an array in the file, separated by commas elsewhere.
    pub(crate) list: bool,
    /// Reads a text.
    pub(crate) set: fn(&mut Settings, &str) -> Result<(), String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Looks a key up. `node.name` is what people write who think of several nodes.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    let name = if name == "node.name" { "name" } else { name };
    KEYS.iter().find(|key| key.name == name)
}

const fn key(
    name: &'static str,
    env: &'static str,
    default: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Key {
    Key { name, env, default, list: false, set }
}

const fn list(
    name: &'static str,
    env: &'static str,
    default: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Key {
    Key { name, env, default, list: true, set }
}

/// All settings, as `hive config` lists them.
pub(crate) static KEYS: &[Key] = &[
    key("network", env::HIVE_NETWORK, "main", |settings, text| {
        settings.network = network(text)?;
        Ok(())
    }),
    list(
        "listen",
        env::HIVE_LISTEN,
        "/ip4/0.0.0.0/tcp/4483,/ip4/0.0.0.0/udp/4483/quic-v1,/ip6/::/tcp/4483,/ip6/::/udp/4483/quic-v1",
        |settings, text| {
            settings.listen = if text == "none" { Vec::new() } else { addresses(text)? };
            Ok(())
        },
    ),
    list("bootstrap", env::HIVE_BOOTSTRAP, "", |settings, text| {
        settings.bootstrap = full_addresses(text)?;
        Ok(())
    }),
    list("external", env::HIVE_EXTERNAL, "", |settings, text| {
        settings.external = external::items(text)?;
        Ok(())
    }),
    key("api", env::HIVE_API, "127.0.0.1:4484", |settings, text| {
        settings.api = if is_off(text) { None } else { Some(loopback(text)?) };
        Ok(())
    }),
    key("share", env::HIVE_SHARE, "local", |settings, text| {
        settings.share = visibility(text)?;
        Ok(())
    }),
    key("name", env::HIVE_NAME, "", |settings, text| {
        settings.name = match text {
            "" => None,
            name => Some(node_name(name)?),
        };
        Ok(())
    }),
    key("mdns", env::HIVE_MDNS, "on", |settings, text| {
        settings.mdns = switch(text)?;
        Ok(())
    }),
    key("allow-private", env::HIVE_ALLOW_PRIVATE, "off", |settings, text| {
        settings.allow_private = switch(text)?;
        Ok(())
    }),
    key("dht", env::HIVE_DHT, "auto", |settings, text| {
        settings.dht = match text {
            "auto" => Dht::Auto,
            "always" => Dht::Always,
            "never" => Dht::Never,
            _ => return Err(format!("`{text}` is none of `auto`, `always`, `never`")),
        };
        Ok(())
    }),
    list("relay", env::HIVE_RELAY, "", |settings, text| {
        settings.no_relays = text == "none";
        settings.relay = if settings.no_relays { Vec::new() } else { full_addresses(text)? };
        Ok(())
    }),
    key("upnp", env::HIVE_UPNP, "on", |settings, text| {
        settings.upnp = switch(text)?;
        Ok(())
    }),
    key("lan-only", env::HIVE_LAN_ONLY, "off", |settings, text| {
        settings.lan_only = switch(text)?;
        Ok(())
    }),
    key("metrics", env::HIVE_METRICS, "off", |settings, text| {
        settings.metrics = if is_off(text) { None } else { Some(socket(text)?) };
        Ok(())
    }),
    key("upload-limit", env::HIVE_UPLOAD_LIMIT, "off", |settings, text| {
        settings.upload_limit = size(text, "off")?;
        if settings.upload_limit == Some(0) {
            return Err("nothing could be served; write `off` for no limit".to_owned());
        }
        Ok(())
    }),
    key("quota", env::HIVE_QUOTA, "off", |settings, text| {
        settings.quota = size(text, "off")?;
        Ok(())
    }),
    key("reserve", env::HIVE_RESERVE, "auto", |settings, text| {
        settings.reserve = size(text, "auto")?;
        Ok(())
    }),
    key("provider-timeout", env::HIVE_PROVIDER_TIMEOUT, "20s", |settings, text| {
        settings.provider_timeout = units::parse_duration(text)?;
        Ok(())
    }),
    key("keep-alive", env::HIVE_KEEP_ALIVE, "5m", |settings, text| {
        settings.keep_alive =
            if text == "forever" { None } else { Some(units::parse_duration(text)?) };
        Ok(())
    }),
    key("model-memory", env::HIVE_MODEL_MEMORY, "auto", |settings, text| {
        settings.model_memory = size(text, "auto")?;
        Ok(())
    }),
    key("places", env::HIVE_PLACES, "4", |settings, text| {
        settings.places = count(text, 1, MOST_PLACES)?;
        Ok(())
    }),
    key("queue", env::HIVE_QUEUE, "16", |settings, text| {
        settings.queue = count(text, 0, MOST_QUEUED)?;
        Ok(())
    }),
    key("chat-history", env::HIVE_CHAT_HISTORY, "on", |settings, text| {
        settings.chat_history = switch(text)?;
        Ok(())
    }),
    key("allow-bulk", env::HIVE_ALLOW_BULK, "off", |settings, text| {
        settings.serving.circuit_bytes = match text {
            "on" | "true" | "yes" => None,
            _ if is_off(text) => None,
            _ => Some(more_than_nothing(units::parse_bytes(text)?)?),
        };
        settings.serving.allow_bulk = !is_off(text);
        Ok(())
    }),
    list("allow-peers", env::HIVE_ALLOW_PEERS, "", |settings, text| {
        settings.serving.allow = items(text).map(peer).collect::<Result<_, _>>()?;
        Ok(())
    }),
    key("peer-budget", env::HIVE_PEER_BUDGET, "auto", |settings, text| {
        settings.serving.peer_bytes = size(text, "auto")?.map(more_than_nothing).transpose()?;
        Ok(())
    }),
    key("peer-time", env::HIVE_PEER_TIME, "auto", |settings, text| {
        settings.serving.peer_time = time(text)?;
        Ok(())
    }),
    key("network-budget", env::HIVE_NETWORK_BUDGET, "auto", |settings, text| {
        settings.serving.network_bytes = size(text, "auto")?.map(more_than_nothing).transpose()?;
        Ok(())
    }),
    key("network-time", env::HIVE_NETWORK_TIME, "auto", |settings, text| {
        settings.serving.network_time = time(text)?;
        Ok(())
    }),
    key("max-reservations", env::HIVE_MAX_RESERVATIONS, "auto", |settings, text| {
        settings.serving.reservations = auto_count(text)?;
        Ok(())
    }),
    key("max-circuits", env::HIVE_MAX_CIRCUITS, "auto", |settings, text| {
        settings.serving.circuits = auto_count(text)?;
        Ok(())
    }),
    key("wss", env::HIVE_WSS, "off", |settings, text| {
        settings.wss = match text {
            _ if is_off(text) => None,
            _ => match text.parse() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(format!("`{text}` is neither a port, as 443 is one, nor `off`")),
            },
        };
        Ok(())
    }),
    key("wss-cert", env::HIVE_WSS_CERT, "", |settings, text| {
        settings.wss_cert = (!text.is_empty()).then(|| text.into());
        Ok(())
    }),
    key("wss-key", env::HIVE_WSS_KEY, "", |settings, text| {
        settings.wss_key = (!text.is_empty()).then(|| text.into());
        Ok(())
    }),
    key("log", env::HIVE_LOG, "", |settings, text| {
        settings.log = (!text.is_empty()).then(|| text.to_owned());
        Ok(())
    }),
];

/// Texts at once at most: each takes memory for its context, and more than this only slows all.
const MOST_PLACES: u32 = 64;
/// Requests that wait at most; nobody waits for as many answers.
const MOST_QUEUED: u32 = 1024;

/// Peers, or circuits, of a relay at most: each takes a file handle and some memory.
const MOST_RELAYED: u32 = 65_536;

fn auto_count(text: &str) -> Result<Option<u32>, String> {
    if text == "auto" { Ok(None) } else { count(text, 1, MOST_RELAYED).map(Some) }
}

fn more_than_nothing(bytes: u64) -> Result<u64, String> {
    if bytes > 0 { Ok(bytes) } else { Err("nothing could come through".to_owned()) }
}

fn time(text: &str) -> Result<Option<Duration>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let time = units::parse_duration(text)?;
    if time.is_zero() { Err("nothing could come through".to_owned()) } else { Ok(Some(time)) }
}

/// A peer's id: what it is exactly the network judges.
fn peer(text: &str) -> Result<String, String> {
    let looks_like_one = text.len() > 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if looks_like_one {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no peer's id, as `hive id` prints it: 12D3KooW…"))
    }
}

fn count(text: &str, least: u32, most: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("`{text}` is no number from {least} to {most}")),
    }
}

fn is_off(text: &str) -> bool {
    matches!(text, "off" | "false" | "no")
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "0" => Ok(false),
        _ if is_off(text) => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

fn size(text: &str, none: &str) -> Result<Option<u64>, String> {
    if text == none { Ok(None) } else { units::parse_bytes(text).map(Some) }
}

/// Reads who may have a model.
pub(crate) fn visibility(text: &str) -> Result<Visibility, String> {
    match text {
        "public" => Ok(Visibility::Public),
        "unlisted" => Ok(Visibility::Unlisted),
        "local" => Ok(Visibility::Local),
        _ => Err(format!("`{text}` is none of `public`, `unlisted`, `local`")),
    }
}

/// What a node may call itself: it is shown at others' terminals.
fn node_name(text: &str) -> Result<String, String> {
    use unicode_normalization::UnicodeNormalization as _;
    let name: String = text.trim_matches(' ').nfc().collect();
    if name.is_empty() || name.len() > NODE_NAME_LEN {
        return Err(format!("a node's name has 1 to {NODE_NAME_LEN} bytes"));
    }
    // Brackets stand around the name in what peers are told of the software.
    if crate::text::plain(&name) != name || name.contains(['(', ')']) {
        return Err(format!(
            "`{}` has control characters, marks of direction or brackets",
            crate::text::plain(&name)
        ));
    }
    Ok(name)
}

/// The name becomes part of protocol names, which are paths.
fn network(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no network: 1 to 64 of `a-z`, `0-9` and `-`"))
    }
}

/// Items of a list written in one text.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn addresses(text: &str) -> Result<Vec<String>, String> {
    items(text)
        .map(|item| {
            // What follows the first slash is the swarm's to judge; this catches `host:port`.
            if item.starts_with('/') {
                Ok(item.to_owned())
            } else {
                Err(format!("`{item}` is no multiaddr, as `/ip4/192.0.2.1/tcp/4483` is one"))
            }
        })
        .collect()
}

fn full_addresses(text: &str) -> Result<Vec<String>, String> {
    let addresses = addresses(text)?;
    match addresses.iter().find(|address| !address.contains("/p2p/")) {
        Some(address) => Err(format!("`{address}` does not say which node (…/p2p/ID)")),
        None => Ok(addresses),
    }
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is neither an address like `0.0.0.0:9464` nor `off`"))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let with_ip = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr =
        with_ip.as_deref().unwrap_or(text).parse().map_err(|_| {
            format!("`{text}` is neither an address like `127.0.0.1:4484` nor `off`")
        })?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("`{text}` can be reached by other machines; the local API is for this one"))
    }
}
