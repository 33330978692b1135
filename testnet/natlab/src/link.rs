//! What a line does to frames: it is slow, far, uneven and loses some.
//!
//! One [`Line`] is one direction. It is told the time and owns its dice, so what it does follows
//! from a seed and a list of arrivals; it never sees a clock or a device.
//!
//! Invariant: frames leave in the order in which they came, and each that came is delivered once or
//! counted as lost, refused or cut.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::limits::{QUEUE_BYTES, QUEUE_TIME, UNDER_WAY};

/// How a line is, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shape {
    /// How long a frame is under way.
    pub delay: Duration,
    /// At most so much later or earlier than that.
    pub jitter: Duration,
    /// The share of frames that are lost: 0 to 1.
    pub loss: f64,
    /// Bits a second; none for a line that is never full.
    pub rate: Option<u64>,
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that came.
    pub came: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were delivered.
    pub delivered: u64,
    /// Bytes that were delivered.
    pub delivered_bytes: u64,
    /// Frames lost by the dice.
    pub lost: u64,
    /// Frames that found the queue full.
    pub refused: u64,
    /// Frames that a cut line swallowed.
    pub cut: u64,
}

/// One direction of a line.
#[derive(Debug)]
pub(crate) struct Line {
    shape: Shape,
    dice: Dice,
    cut: bool,
    /// When the last accepted frame will have left the sender.
    free_at: Duration,
    /// When the last accepted frame arrives.
    last_due: Duration,
    under_way: VecDeque<(Duration, Vec<u8>)>,
    under_way_bytes: u64,
    counts: Counts,
}

impl Line {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            dice: Dice::new(seed),
            cut: false,
            free_at: Duration::ZERO,
            last_due: Duration::ZERO,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a frame that comes at `now`. Times are since any start, and never go back.
    pub(crate) fn offer(&mut self, now: Duration, frame: Vec<u8>) {
        let len = frame.len() as u64;
        self.counts.came += 1;
        self.counts.bytes += len;
        if self.cut {
            self.counts.cut += 1;
            return;
        }
        // The dice fall for each frame, whatever becomes of it, so that a run is had again.
        let (lost, unevenness) = (self.dice.unit() < self.shape.loss, self.dice.unit());
        let starts = self.free_at.max(now);
        let leaves = match self.shape.rate {
            None => now,
            Some(rate) => {
                let waiting = starts.saturating_sub(now).as_secs_f64() * rate as f64 / 8.0;
                let room = (rate as f64 / 8.0 * QUEUE_TIME.as_secs_f64()).max(QUEUE_BYTES as f64);
                if waiting + len as f64 > room {
                    self.counts.refused += 1;
                    return;
                }
                starts + Duration::from_secs_f64(len as f64 * 8.0 / rate as f64)
            }
        };
        if self.under_way_bytes + len > UNDER_WAY {
            self.counts.refused += 1;
            return;
        }
        self.free_at = leaves;
        if lost {
            // It was sent, so it took its time on the wire.
            self.counts.lost += 1;
            return;
        }
        let late = self.shape.jitter.mul_f64(2.0 * unevenness);
        let due = (leaves + self.shape.delay + late).saturating_sub(self.shape.jitter);
        let due = due.max(leaves).max(self.last_due);
        self.last_due = due;
        self.under_way_bytes += len;
        self.under_way.push_back((due, frame));
    }

    /// When the next frame arrives.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.under_way.front().map(|(due, _)| *due)
    }

    /// The next frame, if it has arrived by `now`.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        let (_, frame) = self.under_way.pop_front()?;
        self.under_way_bytes -= frame.len() as u64;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += frame.len() as u64;
        Some(frame)
    }

    /// Swallows everything from now on, also what is under way; or carries again.
    pub(crate) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
        if cut {
            self.counts.cut += self.under_way.len() as u64;
            self.under_way.clear();
            self.under_way_bytes = 0;
        }
    }

    /// Changes what the line is like for the frames that come from now on.
    pub(crate) fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

/// `delay_ms=8,jitter_ms=2,loss=0.001,rate_mbit=100`: how a shape travels to a line's process.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "delay_ms={},jitter_ms={}", ms(self.delay), ms(self.jitter))?;
        write!(f, ",loss={}", self.loss)?;
        match self.rate {
            Some(rate) => write!(f, ",rate_mbit={}", rate as f64 / 1e6),
            None => Ok(()),
        }
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut shape = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').with_context(|| format!("`{part}` is no key=value"))?;
            let value: f64 =
                value.parse().with_context(|| format!("`{value}` of {key} is no number"))?;
            shape.set(key, value)?;
        }
        Ok(shape)
    }
}

impl Shape {
    /// The names that a topology and an order use.
    pub(crate) const KEYS: [&str; 4] = ["delay_ms", "jitter_ms", "loss", "rate_mbit"];

    pub(crate) fn set(&mut self, key: &str, value: f64) -> anyhow::Result<()> {
        let time = || {
            ensure!((0.0..=60_000.0).contains(&value), "{key} = {value}: 0 to 60000 milliseconds");
            Ok(Duration::from_secs_f64(value / 1000.0))
        };
        match key {
            "delay_ms" => self.delay = time()?,
            "jitter_ms" => self.jitter = time()?,
            "loss" => {
                ensure!((0.0..=1.0).contains(&value), "loss = {value}: a share, 0 to 1");
                self.loss = value;
            }
            "rate_mbit" => {
                ensure!(
                    (0.001..=100_000.0).contains(&value),
                    "rate_mbit = {value}: 0.001 to 100000"
                );
                self.rate = Some((value * 1e6) as u64);
            }
            _ => bail!("`{key}` is nothing a line has; there are {}", Self::KEYS.join(", ")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
