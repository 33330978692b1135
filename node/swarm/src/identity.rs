//! Who a node is: its key, and the name that peers know it by.

use std::fmt;
use std::str::FromStr;

use hive_protocol::NodeKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node's secret key. `Debug` shows the peer's name only.
#[derive(Clone)]
pub struct NodeIdentity {
    keypair: Keypair,
}

impl NodeIdentity {
    /// Makes the identity of an ed25519 secret.
    pub fn from_ed25519_secret(secret: [u8; 32]) -> Self {
        let keypair = Keypair::ed25519_from_bytes(secret).expect("any 32 bytes are a secret");
        Self { keypair }
    }

    /// The name that peers know this node by.
    pub fn peer(&self) -> Peer {
        Peer(self.keypair.public().to_peer_id())
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.keypair
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

/// The name of a node. A connection has proven it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub(crate) PeerId);

/// A text that is no peer's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a peer id")]
pub struct PeerParseError {
    text: String,
}

impl Peer {
    /// The key that the name is made of; `None` for a peer whose key is not ed25519.
    pub fn node_key(&self) -> Option<NodeKey> {
        let bytes = self.0.to_bytes();
        // An identity multihash: code 0, a length below 128, the key itself.
        let [0, _, key @ ..] = bytes.as_slice() else {
            return None;
        };
        let key = PublicKey::try_decode_protobuf(key).ok()?.try_into_ed25519().ok()?;
        Some(NodeKey(key.to_bytes()))
    }

    /// The name of the node with this key; `None` when it is not a point of the curve.
    pub fn from_node_key(key: &NodeKey) -> Option<Self> {
        let key = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
        Some(Self(PublicKey::from(key).to_peer_id()))
    }

    /// Enough of the name for a person: its last 8 characters.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len().saturating_sub(8)..].to_owned()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.short())
    }
}

impl FromStr for Peer {
    type Err = PeerParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PeerParseError { text: text.chars().take(64).collect() };
        if text.len() > 128 {
            return Err(error());
        }
        text.parse().map(Self).map_err(|_| error())
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_its_key_and_reads_back() {
        let peer = NodeIdentity::from_ed25519_secret([7; 32]).peer();
        let key = peer.node_key().expect("an ed25519 peer");
        assert_eq!(Peer::from_node_key(&key), Some(peer));
        assert_eq!(peer.to_string().parse(), Ok(peer));
        assert!(peer.to_string().ends_with(&peer.short()));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let identity = NodeIdentity::from_ed25519_secret([0x41; 32]);
        let shown = format!("{identity:?}");
        assert!(!shown.contains("41, 41") && !shown.contains("4141"), "{shown}");
    }

    #[test]
    fn a_foreign_key_and_a_wrong_text_are_no_node() {
        // An RSA peer: a SHA-256 multihash.
        let rsa: Peer = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN".parse().expect("a peer");
        assert_eq!(rsa.node_key(), None);
        assert!("not a peer".parse::<Peer>().is_err());
        assert!("1".repeat(4096).parse::<Peer>().is_err());
    }
}
