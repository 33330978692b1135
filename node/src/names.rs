//! What peers call themselves. A name is a claim: it is shown beside the id, made harmless first, and
//! identifies nobody. The one thing it is good for is to spare a user an id when he names a peer,
//! and then two peers of one name are an error.

use hive_api::{ErrorKind, HiveError, PeerName, Result};
use hive_swarm::Peer;
use tokio::time::Instant;

use crate::local::Local;

/// Bytes of a name that are shown.
const LEN: usize = 64;

/// A name as it may be shown: without what commands a terminal, and short.
pub(crate) fn claim(text: &str) -> Option<String> {
    let shown = text.chars().filter(|c| !c.is_control() && !turns_text(*c));
    let mut name = String::new();
    for c in shown {
        if name.len() + c.len_utf8() > LEN {
            break;
        }
        name.push(c);
    }
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Characters that turn the direction of the text around them.
fn turns_text(c: char) -> bool {
    matches!(
        c,
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    )
}

impl Local {
    /// A peer as it is shown.
    pub(crate) fn shown(&self, peer: Peer) -> PeerName {
        PeerName { peer: peer.to_string(), name: self.catalog.peer_name(peer) }
    }

    /// Peers that a user named, by id, by address or by name; names become ids. A node that has just
    /// started hears names when it connects, so they are waited for as long as for a provider.
    pub(crate) async fn resolve_peers(&self, named: Vec<String>) -> Result<Vec<String>> {
        let mut resolved = Vec::new();
        for text in named {
            let is_name = text.parse::<Peer>().is_err() && !text.starts_with('/');
            resolved.push(if is_name { self.peer_called(&text).await? } else { text });
        }
        Ok(resolved)
    }

    async fn peer_called(&self, name: &str) -> Result<String> {
        let give_up = Instant::now() + self.config.provider_timeout;
        let mut changes = self.catalog.changes();
        loop {
            match self.catalog.peers_called(name).as_slice() {
                [peer] => return Ok(peer.to_string()),
                [] => {}
                several => {
                    let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
                    let message = format!("{} peers call themselves `{name}`", several.len());
                    return Err(HiveError::new(ErrorKind::Usage, message)
                        .hint(format!("say which by its id: {}", ids.join(", "))));
                }
            }
            if Instant::now() >= give_up {
                let message = format!("no peer that this node knows calls itself `{name}`");
                return Err(HiveError::new(ErrorKind::NotFound, message)
                    .hint("`hive peers` lists them; a peer's id or full address will do, too"));
            }
            tokio::select! {
                // The catalog lives as long as the node.
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(give_up) => {}
                () = self.stop.cancelled() => return Err(crate::errors::stopping()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_what_commands_a_terminal() {
        assert_eq!(claim("kitchen"), Some("kitchen".into()));
        assert_eq!(claim("a\u{1b}[2Jb\u{202e}c\u{200f}"), Some("a[2Jbc".into()));
        assert_eq!(claim(" \n\t "), None);
        assert_eq!(claim(&"ü".repeat(100)).map(|name| name.len()), Some(LEN));
    }
}
