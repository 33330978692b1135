//! Peers that attack: bytes on real connections that no implementation of the wire would send.
//!
//! [`Attacker::connect`] shakes hands like anybody and then gives the streams away by hand, so that
//! whatever is put on them arrives as it is: [`frames`] writes gossip, DHT and identify messages,
//! honest or not. [`Attacker::connect_below`] stops one layer earlier, where frames of the
//! multiplexer are written by hand. [`Gullible`] is the other side without a bound or a doubt, which
//! no attack may leave standing; with a [`Shelf`] it gives out files whatever has become of them.
//!
//! Nothing here judges: it sends, and says whether the connection is still there.

pub mod frames;
mod gullible;
mod negotiate;
mod shelf;
mod wire;

pub use gullible::{Depth, Gullible};
pub use negotiate::read_message;
pub use shelf::Shelf;
pub use wire::{Attacker, Below, Pipe, Wire, dial};

pub use crate::liar::script::framed;
