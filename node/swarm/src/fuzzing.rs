//! Framing and addresses as `hive-fuzz` sees them: bytes in, and what was read.

use std::net::Ipv6Addr;

use futures::AsyncReadExt as _;
use futures::executor::block_on;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use crate::address::{self, Policy};
use crate::exchange::wire::{self, Length};
use crate::limits::ADDRESS_LEN;
use crate::transport::websocket::frames::{Frames, Role};
use crate::transport::websocket::handshake;
use crate::{NodeIdentity, Peer};

/// Reads the length before a header of `chunk/1`; none if there is none.
///
/// # Panics
///
/// If it is not the way in which hive writes that length.
pub fn header_length(bytes: &[u8]) -> Option<usize> {
    let mut length = Length::default();
    for (n_bytes, &byte) in (1..).zip(bytes) {
        if let Some(len) = length.push(byte).ok()? {
            let written = wire::header(&vec![0; len]);
            assert_eq!(written.get(..n_bytes), bytes.get(..n_bytes), "two spellings of {len}");
            return Some(len);
        }
    }
    None
}

/// Reads a stream of WebSocket frames to its end; how many bytes were in them, none if it is broken.
pub fn websocket(bytes: &[u8], by_server: bool) -> Option<usize> {
    let role = if by_server { Role::Server } else { Role::Client };
    let socket = tokio::io::join(bytes, tokio::io::sink()).compat();
    let mut read = Vec::new();
    block_on(Frames::new(socket, role).read_to_end(&mut read)).ok().map(|_| read.len())
}

/// Whether the bytes ask for a WebSocket.
pub fn websocket_request(bytes: &[u8]) -> bool {
    let mut socket = tokio::io::join(bytes, tokio::io::sink()).compat();
    block_on(handshake::accept(&mut socket)).is_ok()
}

/// Whether an address that somebody told us, in bytes or as text, may be dialed.
///
/// # Panics
///
/// If one that may is too long, of another peer, on no network of its own, or is not read back.
pub fn address(bytes: &[u8]) -> bool {
    let peer = NodeIdentity::from_ed25519_secret([1; 32]).peer().0;
    let of_text = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Multiaddr>().ok());
    let of_bytes = Multiaddr::try_from(bytes.to_vec()).ok();
    let mut allowed = false;
    for told in of_text.iter().chain(&of_bytes) {
        for allow_private in [false, true] {
            for kept in (Policy { allow_private }).filter(peer, [told], 1) {
                allowed = true;
                assert!(kept.len() <= ADDRESS_LEN);
                assert!(address::peer_of(told).is_none_or(|other| other == peer));
                assert!(allow_private || !is_of_this_network(&kept), "{kept} is private");
                let full = address::full(&kept, peer);
                let again = full.parse::<Multiaddr>().expect("an address that was written");
                assert_eq!(address::without_peer(&again), kept);
            }
        }
    }
    allowed
}

/// Said otherwise than in `address`: numbers that no stranger may make us dial.
fn is_of_this_network(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => {
            let inner = ip.to_ipv4_mapped();
            ip == Ipv6Addr::LOCALHOST
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || inner.is_some_and(|ip| ip.is_private() || ip.is_loopback())
        }
        _ => false,
    }
}

/// Whether the text is a peer's id.
///
/// # Panics
///
/// If it is written otherwise than it was read and then not read again.
pub fn peer(text: &str) -> bool {
    let Ok(peer) = text.parse::<Peer>() else { return false };
    assert_eq!(peer.to_string().parse::<Peer>().ok(), Some(peer));
    true
}
