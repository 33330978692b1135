//! Reading a file that is still arriving: what may be read of it, and what is needed next.
//!
//! A fetch writes a model's file in any order. A [`Gate`] stands between that file and whoever
//! loads it: it knows which bytes are verified, makes readers wait for the others, and carries what
//! they need to whoever can ask for it. [`Gated`] is the file behind it.
//!
//! Never opens or writes a file, and knows nothing of where the bytes come from.
//!
//! Invariant: a reader gets no byte that was not [opened](Gate::open) before.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Bytes that a reader will want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The bytes, those to have first first.
    pub ranges: Vec<Range<u64>>,
    /// Whether somebody stands still until they are here. Otherwise it is the order in which the
    /// file will be read.
    pub now: bool,
}

/// Hears what readers will want.
type OnNeed = dyn Fn(&Need) + Send + Sync;

/// What of a file may be read. Cheap to clone; all clones are one gate.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    size: u64,
    state: Mutex<State>,
    /// Something was opened, or nothing more will be.
    changed: Condvar,
    /// The same for those who do not block; counts.
    ticks: watch::Sender<u64>,
    on_need: Box<OnNeed>,
}

#[derive(Default)]
struct State {
    /// Ends of open ranges by their beginnings; none touch.
    open: BTreeMap<u64, u64>,
    /// All that was opened, in that order.
    log: Vec<Range<u64>>,
    failed: Option<String>,
}

impl State {
    fn has(&self, range: &Range<u64>) -> bool {
        let before = self.open.range(..=range.start).next_back();
        range.is_empty() || before.is_some_and(|(_, &end)| range.end <= end)
    }

    fn open(&mut self, mut range: Range<u64>) {
        // Everything that it touches becomes one with it.
        while let Some((&start, &end)) = self.open.range(..=range.end).next_back() {
            if end < range.start {
                break;
            }
            self.open.remove(&start);
            range = range.start.min(start)..range.end.max(end);
        }
        self.open.insert(range.start, range.end);
    }
}

impl Gate {
    /// A closed gate before a file of `size` bytes. `on_need` hears what readers will want; it is
    /// called on their threads and must not wait for them.
    pub fn new(size: u64, on_need: impl Fn(&Need) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            size,
            state: Mutex::default(),
            changed: Condvar::new(),
            ticks: watch::Sender::new(0),
            on_need: Box::new(on_need),
        }))
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.0.changed.notify_all();
        self.0.ticks.send_modify(|ticks| *ticks += 1);
    }

    /// Lets readers at bytes that are verified and in the file.
    pub fn open(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.0.size);
        {
            let mut state = self.lock();
            if range.is_empty() || state.has(&range) {
                return;
            }
            state.log.push(range.clone());
            state.open(range);
        }
        self.tell();
    }

    /// Says that nothing more will come, and why. Readers of what is here go on.
    pub fn fail(&self, reason: impl Into<String>) {
        self.lock().failed.get_or_insert_with(|| reason.into());
        self.tell();
    }

    /// Why nothing more will come.
    pub fn failure(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Whether these bytes may be read.
    pub fn has(&self, range: &Range<u64>) -> bool {
        self.lock().has(range)
    }

    /// Whether all of the file may be read.
    pub fn is_whole(&self) -> bool {
        self.has(&(0..self.0.size))
    }

    /// How many bytes from `start` on may be read without a gap.
    pub fn run_from(&self, start: u64) -> u64 {
        let state = self.lock();
        let before = state.open.range(..=start).next_back();
        before.map_or(0, |(_, &end)| end.saturating_sub(start))
    }

    /// What was opened after the first `seen` times, in that order.
    pub fn opened(&self, seen: usize) -> Vec<Range<u64>> {
        self.lock().log.get(seen..).unwrap_or_default().to_vec()
    }

    /// Ticks after each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.ticks.subscribe()
    }

    /// Says what will be wanted.
    pub fn need(&self, need: &Need) {
        (self.0.on_need)(need);
    }

    /// Waits until all of these bytes may be read; says whether they may when `patience` is over.
    ///
    /// # Errors
    ///
    /// They will not come.
    pub fn wait(&self, ranges: &[Range<u64>], patience: Duration) -> io::Result<bool> {
        self.wait_unless(&Leave::default(), ranges, patience)
    }

    /// Ends the reads that wait for this gate, and all that come, of readers that [end
    /// with](Gated::ending_with) this.
    pub fn leave(&self, leave: &Leave) {
        // Whoever looked before and waits now holds the lock until it does.
        let state = self.lock();
        leave.0.store(true, Ordering::Relaxed);
        drop(state);
        self.0.changed.notify_all();
    }

    fn wait_unless(
        &self,
        leave: &Leave,
        ranges: &[Range<u64>],
        patience: Duration,
    ) -> io::Result<bool> {
        let deadline = Instant::now().checked_add(patience);
        let mut state = self.lock();
        loop {
            leave.check()?;
            if ranges.iter().all(|range| state.has(range)) {
                return Ok(true);
            }
            if let Some(reason) = &state.failed {
                let message = format!("the rest of the model did not arrive: {reason}");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            let Some(deadline) = deadline else {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let open: u64 = state.open.iter().map(|(start, end)| end - start).sum();
        let (size, failed) = (self.0.size, &state.failed);
        f.debug_struct("Gate")
            .field("size", &size)
            .field("open", &open)
            .field("failed", failed)
            .finish()
    }
}

/// Whether readers have left, who may be waiting at a [gate](Gate::leave). Cheap to clone; all clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct Leave(Arc<AtomicBool>);

impl Leave {
    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants the rest of the model any more"));
        }
        Ok(())
    }
}

/// A file, or as much of it as its gate lets through: a read waits for the bytes that it wants.
///
/// Cheap to clone: each clone has a place of its own in the one open file.
#[derive(Debug, Clone)]
pub struct Gated {
    file: Arc<File>,
    gate: Option<Gate>,
    leave: Leave,
    at: u64,
}

impl Gated {
    /// A file behind its gate; without one all of it may be read.
    pub fn new(file: File, gate: Option<Gate>) -> Self {
        Self { file: Arc::new(file), gate, leave: Leave::default(), at: 0 }
    }

    /// The same file, for a reader whose reads fail from the moment on when he is told to leave.
    #[must_use]
    pub fn ending_with(self, leave: &Leave) -> Self {
        Self { leave: leave.clone(), ..self }
    }

    /// The gate.
    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }
}

impl Read for Gated {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut most = buf.len();
        self.leave.check()?;
        if let Some(gate) = &self.gate {
            most =
                usize::try_from(gate.size().saturating_sub(self.at)).map_or(most, |n| n.min(most));
            let wanted = self.at..self.at + most as u64;
            if !gate.has(&wanted) {
                gate.need(&Need { ranges: vec![wanted.clone()], now: true });
                gate.wait_unless(&self.leave, std::slice::from_ref(&wanted), Duration::MAX)?;
            }
        }
        let n = read_at(&self.file, self.at, &mut buf[..most])?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Reads at a place: two readers of one file must not move each other's.
#[cfg(unix)]
fn read_at(file: &File, at: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, at)
}

#[cfg(windows)]
fn read_at(file: &File, at: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, at)
}

impl Seek for Gated {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let len = || match &self.gate {
            Some(gate) => Ok(gate.size()),
            None => self.file.metadata().map(|metadata| metadata.len()),
        };
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => len()?.checked_add_signed(by),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning");
        self.at = at.ok_or_else(before)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests;
