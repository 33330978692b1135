//! Every bound on what the two processes send each other and wait for.

use std::time::Duration;

/// Bytes of a message. A prompt of a million tokens fits, a runaway length does not.
pub const FRAME_LEN: usize = 16 << 20;

/// Files that a model may have.
pub const PARTS: usize = 256;

/// Bytes of answer that may wait for their reader. An ordinary answer is a few hundred kilobytes at
/// most; a reader who is further behind has gone away without saying so, and his answer is
/// cancelled.
pub const UNREAD_LEN: usize = 4 << 20;

/// Texts that are embedded with one message: the vectors of so many fit a frame whatever the
/// model's width, and the texts of others come in between.
pub const EMBED_TEXTS: usize = 32;

/// Bytes of texts that are embedded with one message, unless one text alone has more: a model says
/// nothing while it embeds, and many long texts would take it longer than [`STALL`].
pub const EMBED_LEN: usize = 16 << 10;

/// Orders that wait to be written to the child. Whoever has more waits.
pub(crate) const ORDERS: usize = 32;

/// Orders that a child holds unread. Its parent sends at most three for each place, so more is a
/// broken parent.
pub(crate) const ORDERS_IN_CHILD: usize = 4096;

/// Ranges of an arriving file that are told, or wanted, with one message: some 20 bytes each. What a
/// model needs beyond that it asks for when it stands before it.
pub(crate) const RANGES: usize = 4096;

/// Reports of an engine on a thread that wait for the driver; then the engine waits.
pub(crate) const REPORTS: usize = 256;

/// How often a child at work says that it is alive, at most.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// How often the memory of a child is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// How long a child that closed its pipe may take to end before it is made to.
pub(crate) const LAST_BREATH: Duration = Duration::from_secs(2);

/// Bytes of a line that a child writes to stderr; the rest of a longer one is dropped.
pub(crate) const LINE_LEN: usize = 1024;

/// Lines of a child's stderr that are told; one that writes without end must not fill the disk with
/// logs.
pub(crate) const LINES: usize = 256;

/// How long a child may work without a word: longer than the slowest machine takes for a stretch of
/// a prompt with the largest model that it can hold (128 tokens of a 13 B model on two cores take
/// about a minute), short enough that somebody still waits for the answer.
pub const STALL: Duration = Duration::from_mins(5);

/// How long loading may take: 40 GB from a disk at 100 MB/s, and packing it.
pub const LOAD: Duration = Duration::from_mins(15);
