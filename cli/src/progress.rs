//! How far something is: bars on a terminal, a line every two seconds elsewhere, nothing for
//! programs and the quiet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hive_api::{FetchEvent, FetchPeer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::printer::Printer;
use crate::text::{named_peer, plain};
use crate::units;

/// Time between two lines where there are no bars.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Peers that have a line of their own; a screen has some 24.
const PEER_LINES: usize = 12;

const TOTAL: &str = "{prefix:.bold} [{bar:30.cyan}] {percent:>3}%  {msg}";
const PEER: &str = "  {msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are right")
        .progress_chars("=> ")
}

/// A thing with a number of bytes to go through.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    printer: &'a Printer,
    verb: &'static str,
    /// What is counted, if not bytes.
    unit: Option<&'static str>,
    bar: Option<ProgressBar>,
    last_line: Instant,
    started: Instant,
}

impl<'a> Progress<'a> {
    /// Begins; `verb` is what is done, as in `hashing`.
    pub(crate) fn new(printer: &'a Printer, verb: &'static str) -> Self {
        let now = Instant::now();
        Self { printer, verb, unit: None, bar: None, last_line: now, started: now }
    }

    /// The same for what is not counted in bytes.
    pub(crate) fn counting(printer: &'a Printer, verb: &'static str, unit: &'static str) -> Self {
        let mut progress = Self::new(printer, verb);
        progress.unit = Some(unit);
        progress
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self, bytes: u64, total: u64) {
        let rate = bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let eta = (rate > 0.0).then(|| total.saturating_sub(bytes) as f64 / rate);
        let message = match self.unit {
            None => message(bytes, total, rate, eta),
            Some(unit) => {
                let left =
                    eta.map_or_else(String::new, |eta| format!("  {} left", units::seconds(eta)));
                format!("{bytes} of {total} {unit}{left}")
            }
        };
        if let Some(bars) = self.printer.bars() {
            let bar = self.bar.get_or_insert_with(|| total_bar(bars, self.verb, total, &message));
            bar.set_length(total);
            bar.set_position(bytes);
            bar.set_message(message);
        } else if self.printer.talks() && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let percent = units::percent(bytes, total);
            self.printer.talk(format_args!("{}: {percent} %, {message}", self.verb));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Adds a bar that has all it shows from its first drawing on.
fn total_bar(bars: &MultiProgress, verb: &'static str, total: u64, message: &str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_style(style(TOTAL)).with_prefix(verb);
    bars.add(bar.with_message(message.to_owned()))
}

fn message(bytes: u64, total: u64, rate: f64, eta: Option<f64>) -> String {
    let left = eta.map_or_else(String::new, |eta| format!("  {} left", units::seconds(eta)));
    format!("{} of {}  {}{left}", units::bytes(bytes), units::bytes(total), units::rate(rate))
}

/// A fetch: all verified bytes, and each peer's part.
#[derive(Debug)]
pub(crate) struct FetchProgress<'a> {
    printer: &'a Printer,
    total: Option<ProgressBar>,
    peers: HashMap<String, ProgressBar>,
    last_line: Instant,
}

impl<'a> FetchProgress<'a> {
    /// Begins.
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self { printer, total: None, peers: HashMap::new(), last_line: Instant::now() }
    }

    /// Shows what happened.
    pub(crate) fn show(&mut self, event: &FetchEvent) {
        let printer = self.printer;
        if !printer.talks() {
            return;
        }
        match event {
            FetchEvent::Searching { cid } => {
                printer.talk(format_args!("looking for `{}`", plain(cid)));
            }
            FetchEvent::Manifest { name, size, present, .. } => {
                let here = match present {
                    0 => String::new(),
                    _ => format!(", {} of it here already", units::bytes(*present)),
                };
                let size = units::bytes(*size);
                printer.talk(format_args!("fetching `{}`, {size}{here}", plain(name)));
            }
            FetchEvent::Peer { peer, name } => {
                printer.more(format_args!("peer {}", named_peer(peer, name.as_deref())));
            }
            FetchEvent::Struck { peer, name, reason } => {
                let (peer, reason) = (named_peer(peer, name.as_deref()), plain(reason));
                printer.warning(format_args!("{peer} is banned or soon will be: {reason}"));
            }
            FetchEvent::Note { text, hint } => {
                printer.talk(plain(text));
                if let Some(hint) = hint {
                    printer.talk(format_args!("  {}", plain(hint)));
                }
            }
            FetchEvent::Progress { bytes, size, rate, eta, peers } => {
                let waits = bytes < size && peers.iter().all(|peer| peer.rate == 0.0);
                let message = if waits {
                    // Of what it was before, no time can be made.
                    let of = format!("{} of {}", units::bytes(*bytes), units::bytes(*size));
                    format!("{of}  waiting for somebody who has the rest")
                } else {
                    message(*bytes, *size, *rate, *eta)
                };
                match printer.bars() {
                    Some(bars) => self.draw(bars, *bytes, *size, message, peers),
                    None => self.line(*bytes, *size, &message, peers),
                }
            }
            FetchEvent::Done { .. } => self.clear(),
        }
    }

    fn draw(
        &mut self,
        bars: &MultiProgress,
        bytes: u64,
        size: u64,
        message: String,
        peers: &[FetchPeer],
    ) {
        let total = self.total.get_or_insert_with(|| total_bar(bars, "fetching", size, &message));
        total.set_length(size);
        total.set_position(bytes);
        total.set_message(message);
        for peer in peers {
            if !self.peers.contains_key(&peer.peer) && self.peers.len() < PEER_LINES {
                let line = bars.add(ProgressBar::no_length().with_style(style(PEER)));
                self.peers.insert(peer.peer.clone(), line);
            }
            if let Some(line) = self.peers.get(&peer.peer) {
                line.set_message(peer_line(peer));
            }
        }
    }

    fn line(&mut self, bytes: u64, size: u64, message: &str, peers: &[FetchPeer]) {
        if self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        let active = peers.iter().filter(|peer| peer.rate > 0.0).count();
        let percent = units::percent(bytes, size);
        let from = match active {
            0 => String::new(),
            1 => ", from 1 peer".to_owned(),
            n => format!(", from {n} peers"),
        };
        self.printer.talk(format_args!("fetching: {percent} %, {message}{from}"));
    }

    /// Takes the bars off the terminal; the next event brings them back.
    pub(crate) fn clear(&mut self) {
        for line in self.total.take().into_iter().chain(self.peers.drain().map(|(_, line)| line)) {
            line.finish_and_clear();
        }
    }
}

impl Drop for FetchProgress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

fn peer_line(peer: &FetchPeer) -> String {
    let name = named_peer(&peer.peer, peer.name.as_deref());
    let bytes = units::bytes(peer.bytes);
    if peer.struck {
        format!("{name}  {bytes:>10}  banned")
    } else {
        format!("{name}  {bytes:>10}  {:>12}", units::rate(peer.rate))
    }
}
