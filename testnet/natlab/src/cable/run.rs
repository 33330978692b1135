//! The line's process: two devices, two directions, one loop.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::{Answer, Told};
use crate::limits::{BURST, FRAME, ORDER};
use crate::link::{Line, Shape};
use crate::pcap;
use crate::tap::Tap;

/// A line between two namespaces, in a process of its own
#[derive(Debug, clap::Args)]
pub struct CableArgs {
    /// Namespace of the internet's side
    space: String,
    /// Device to make there
    device: String,
    /// Namespace of the other side
    other_space: String,
    /// Device to make there
    other_device: String,
    /// What the line is like: `delay_ms=8,jitter_ms=2,loss=0.001,rate_mbit=100`
    #[arg(long, default_value = "")]
    shape: Shape,
    /// What decides the dice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Process {
    taps: [Tap; 2],
    /// `lines[n]` carries what comes from `taps[n]` to the other.
    lines: [Line; 2],
    capture: Option<pcap::Writer>,
    started: Instant,
}

/// Runs until stdin ends.
pub(crate) fn run(args: &CableArgs) -> anyhow::Result<()> {
    let taps =
        [Tap::make(&args.space, &args.device)?, Tap::make(&args.other_space, &args.other_device)?];
    let lines = [Line::new(args.shape, args.seed), Line::new(args.shape, !args.seed)];
    let mut process = Process { taps, lines, capture: None, started: Instant::now() };
    let stdin = rustix::stdio::stdin();
    let flags = rustix::fs::fcntl_getfl(stdin)?;
    rustix::fs::fcntl_setfl(stdin, flags | OFlags::NONBLOCK)?;
    answer(&Answer::Done(process.told()))?;
    let mut orders = Vec::new();
    loop {
        let wait = process.wait();
        let mut fds = [
            PollFd::new(&process.taps[0], PollFlags::IN),
            PollFd::new(&process.taps[1], PollFlags::IN),
            PollFd::from_borrowed_fd(stdin, PollFlags::IN),
        ];
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for frames"),
        }
        let ready = fds.map(|fd| !fd.revents().is_empty());
        for side in [0, 1] {
            if ready[side] {
                process.take_in(side)?;
            }
        }
        process.hand_out();
        if ready[2] && !process.take_orders(&mut orders)? {
            return Ok(());
        }
    }
}

impl Process {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long nothing has to be handed out.
    fn wait(&self) -> Option<Timespec> {
        let due = self.lines.iter().filter_map(Line::due).min()?;
        let wait = due.saturating_sub(self.now());
        Timespec::try_from(wait).ok()
    }

    fn take_in(&mut self, side: usize) -> anyhow::Result<()> {
        let mut buffer = [0; FRAME];
        for _ in 0..BURST {
            let Some(n) = self.taps[side].read(&mut buffer)? else { break };
            if let Some(capture) = &mut self.capture {
                capture.add(&buffer[..n])?;
            }
            let now = self.now();
            self.lines[side].offer(now, buffer[..n].to_vec());
        }
        Ok(())
    }

    fn hand_out(&mut self) {
        let now = self.now();
        for side in [0, 1] {
            while let Some(frame) = self.lines[side].take(now) {
                self.taps[1 - side].write(&frame);
            }
        }
    }

    /// Reads orders and obeys the whole ones; false when there will be no more.
    fn take_orders(&mut self, orders: &mut Vec<u8>) -> anyhow::Result<bool> {
        let mut buffer = [0; ORDER];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => orders.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error).context("cannot read orders"),
        }
        while let Some(end) = orders.iter().position(|byte| *byte == b'\n') {
            let order: Vec<u8> = orders.drain(..=end).collect();
            let order = String::from_utf8_lossy(&order);
            answer(&match self.obey(order.trim()) {
                Ok(()) => Answer::Done(self.told()),
                Err(error) => Answer::Failed(format!("{error:#}")),
            })?;
        }
        ensure!(orders.len() < ORDER, "an order of over {ORDER} bytes");
        Ok(true)
    }

    fn obey(&mut self, order: &str) -> anyhow::Result<()> {
        match order.split_once(' ').unwrap_or((order, "")) {
            ("count", "") => {}
            ("cut", "") => self.lines.iter_mut().for_each(|line| line.set_cut(true)),
            ("heal", "") => self.lines.iter_mut().for_each(|line| line.set_cut(false)),
            ("shape", shape) => {
                let shape: Shape = shape.parse()?;
                self.lines.iter_mut().for_each(|line| line.reshape(shape));
            }
            ("capture", path) => self.capture = Some(pcap::Writer::create(Path::new(path))?),
            ("release", "") => {
                if let Some(mut capture) = self.capture.take() {
                    capture.flush()?;
                }
            }
            _ => bail!("`{order}` is no order"),
        }
        Ok(())
    }

    fn told(&self) -> Told {
        Told { down: self.lines[0].counts(), up: self.lines[1].counts() }
    }
}

fn answer(answer: &Answer) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}
