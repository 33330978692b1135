//! Every bound of the lab.

use std::time::Duration;

/// The largest frame on a line: MTU 1500, the Ethernet header and two VLAN tags.
pub(crate) const FRAME: usize = 1522;

/// What a line's queue holds at least, however slow the line is.
pub(crate) const QUEUE_BYTES: u64 = 64 << 10;

/// Beyond that it holds what the line sends in this time; what comes then is dropped (tail drop).
pub(crate) const QUEUE_TIME: Duration = Duration::from_millis(100);

/// What may be under way on one direction of a line, which a long delay on a fast line makes large.
pub(crate) const UNDER_WAY: u64 = 32 << 20;

/// Frames that are taken from one end before the other end has its turn.
pub(crate) const BURST: usize = 64;

/// The longest order a line's process takes.
pub(crate) const ORDER: usize = 4 << 10;

/// Where a capture ends: what comes after is counted, not kept.
pub(crate) const CAPTURE: u64 = 256 << 20;

/// How long plain sockets wait for a packet that should come.
pub(crate) const PACKET: Duration = Duration::from_secs(2);

/// How long they wait for a packet that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(600);

/// How long two plain sockets try to reach each other through their routers.
pub(crate) const PUNCH: Duration = Duration::from_secs(4);

/// How long a node may take from its start to its `ready`.
pub(crate) const READY: Duration = Duration::from_secs(30);

/// How long a short command of hive may take.
pub(crate) const COMMAND: Duration = Duration::from_secs(30);

/// How long a node may take to end when it is asked to.
pub(crate) const GOODBYE: Duration = Duration::from_secs(15);

/// How long a laptop may take until it can be dialed: by a reservation, or by its own address.
pub(crate) const REACHABLE: Duration = Duration::from_mins(1);

/// Within this a pair with a possible direct path has to be direct.
pub(crate) const DIRECT: Duration = Duration::from_secs(15);

/// How long hive may take to give a direct path up: three attempts at a hole.
pub(crate) const PUNCHED: Duration = Duration::from_secs(75);

/// How long a fetch may take in a scenario.
pub(crate) const FETCH: Duration = Duration::from_mins(5);

/// How long a path stays cut.
pub(crate) const CUT: Duration = Duration::from_secs(25);

/// How long a laptop may sleep before the others have let go of it.
pub(crate) const SLEEP: Duration = Duration::from_mins(2);

/// How long a node may take to be whole again after a fault has ended.
pub(crate) const RECOVERY: Duration = Duration::from_mins(2);

/// How often another process is asked how it is. Nobody tells the lab, so it asks.
pub(crate) const ASK: Duration = Duration::from_millis(250);

/// What a fetch may have under way, and loses when its path is cut (docs/wire.md: 16 MiB a window).
pub(crate) const WINDOW: u64 = 16 << 20;

/// What hive may send over a relay for one pair without it being a model: reservations, DHT, gossip,
/// manifests, hole punching.
pub(crate) const SIGNALLING: u64 = 1 << 20;
