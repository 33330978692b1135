//! What every scenario stands on: a lab of hosts, the file, and members in the hosts' namespaces.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hive_natlab::{Lab, Shape, Topology};

use super::counters::{self, Packets};
use super::member::{Answer, FETCH, Order, Over, Ready};
use super::plain::{self, Part};
use crate::args::Quiet;
use crate::files::{begins, write_random};
use crate::machine::{self, Others};
use crate::process::Process;
use crate::worker::Read;

/// How long a member may take over an order; a fetch has a deadline of its own before that.
const PATIENCE: Duration = FETCH.saturating_add(Duration::from_mins(1));

/// The host that reads.
pub(super) const READER: &str = "reader";

/// What a scenario is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) size: u64,
    pub(super) quiet: Quiet,
}

/// What other programs take while hive fetches.
pub(super) struct Watch {
    others: Others,
    ours: f64,
}

impl Watch {
    /// The share of the machine that they had. The nodes and the lines are ours.
    pub(super) fn end(self) -> f64 {
        self.others.share(machine::tree_cpu() - self.ours)
    }
}

/// A line of a host.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line {
    /// So many megabits a second, as the kernel limits it.
    Rate(f64),
    /// Delay and loss too, by a process that carries every frame.
    Shape(Shape),
}

/// A lab that stands, and the file that is fetched in it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) file: PathBuf,
    pub(super) size: u64,
    quiet: Quiet,
    n_homes: u32,
}

impl Stage {
    /// Builds the lab: `reader`, with a line that is never the bottleneck, and these hosts.
    pub(super) fn build(setting: &Setting, hosts: &[(String, Line)]) -> anyhow::Result<Self> {
        let shape = |line: &Line| match line {
            Line::Shape(shape) => Some(*shape),
            Line::Rate(_) => None,
        };
        let reader = [(READER.to_owned(), None)];
        let others = hosts.iter().map(|(name, line)| (name.clone(), shape(line)));
        let topology = Topology::of_hosts(setting.seed, reader.into_iter().chain(others))?;
        let lab = Lab::build(&topology)?;
        for (name, line) in hosts {
            if let Line::Rate(mbit) = line {
                lab.limit(name, *mbit)?;
            }
        }
        let file = lab.dir().join("file.bin");
        write_random(&file, 0, setting.size)?;
        Ok(Self { lab, file, size: setting.size, quiet: setting.quiet, n_homes: 0 })
    }

    /// Lets the hosts' TCP find its rate by this algorithm.
    pub(super) fn congestion(&self, hosts: &[&str], algorithm: &str) -> anyhow::Result<()> {
        for host in hosts {
            self.lab.at(host)?.set("net/ipv4/tcp_congestion_control", algorithm)?;
        }
        Ok(())
    }

    /// Waits until other programs are quiet, and watches them from then on.
    pub(super) fn watch(&self) -> Watch {
        self.quiet.wait();
        Watch { others: Others::start(), ours: machine::tree_cpu() }
    }

    /// What the reader's host has received so far.
    pub(super) fn received(&self) -> anyhow::Result<Packets> {
        self.lab.at(READER)?.run(counters::read)?
    }

    /// Copies the file plainly, in parts, and checks it. Seconds until each part was there.
    pub(super) fn copy(&self, parts: &[Part]) -> anyhow::Result<Vec<f64>> {
        self.quiet.wait();
        let into = self.lab.dir().join("copy.bin");
        let seconds = plain::copy(&self.lab, READER, parts, &self.file, &into)?;
        ensure!(begins(&self.file, self.size, &into)?, "the plain copy differs");
        std::fs::remove_file(into)?;
        Ok(seconds)
    }

    /// What the members sent beyond what `n_readers` needed, as a share of that.
    pub(super) fn in_vain(
        &self,
        members: &mut [&mut Member],
        n_readers: u64,
    ) -> anyhow::Result<f64> {
        let mut sent = 0;
        for member in members {
            sent += member.sent()?;
        }
        let needed = self.size * n_readers;
        ensure!(sent >= needed, "{sent} bytes were sent where {needed} came");
        Ok((sent - needed) as f64 / needed as f64)
    }

    /// Takes a fetch's answer and checks what it brought.
    pub(super) fn check(&self, answer: Answer) -> anyhow::Result<Read> {
        let Answer::Fetched(fetched) = answer else { bail!("no fetch was ordered") };
        ensure!(begins(&self.file, self.size, &fetched.path)?, "what was fetched differs");
        Ok(fetched)
    }

    /// Starts a member at a host, in a home of its own.
    pub(super) fn member(
        &mut self,
        host: &str,
        over: &[Over],
        file: Option<&Path>,
        bootstrap: &[String],
    ) -> anyhow::Result<Member> {
        self.n_homes += 1;
        let home = self.lab.dir().join(format!("{host}-{}", self.n_homes));
        std::fs::create_dir_all(&home)?;
        self.start(host, &home, over, file, bootstrap)
    }

    /// Starts one that was killed again, in its home.
    pub(super) fn again(&self, member: &Member) -> anyhow::Result<Member> {
        self.start(&member.host, &member.home, &member.over, None, &[])
    }

    fn start(
        &self,
        host: &str,
        home: &Path,
        over: &[Over],
        file: Option<&Path>,
        bootstrap: &[String],
    ) -> anyhow::Result<Member> {
        let mut command = self.lab.at(host)?.command(&std::env::current_exe()?)?;
        command.arg("member").arg(home).arg(self.lab.address(host)?.to_string());
        command.args(over.iter().flat_map(|over| ["--over", over.name()]));
        command.args(bootstrap.iter().flat_map(|address| ["--bootstrap", address.as_str()]));
        if let Some(file) = file {
            command.arg("--file").arg(file);
        }
        let process = Process::start(format!("the member at {host}"), &mut command)?;
        let ready = Ready { addresses: Vec::new(), id: None };
        let (host, home, over) = (host.to_owned(), home.to_owned(), over.to_vec());
        let mut member = Member { process, ready, host, home, over };
        match member.answer()? {
            Answer::Ready(ready) => member.ready = ready,
            other => bail!("{other:?} before it was ready"),
        }
        Ok(member)
    }
}

/// A member that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Member {
    process: Process,
    pub(super) ready: Ready,
    host: String,
    home: PathBuf,
    over: Vec<Over>,
}

impl Member {
    /// The id of what it provides.
    pub(super) fn id(&self) -> anyhow::Result<String> {
        self.ready.id.clone().context("it provides nothing")
    }

    /// Gives an order; its answer is to be asked for.
    pub(super) fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        self.process.tell(order)
    }

    /// The answer to the last order.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let answer = self.answer_within(PATIENCE)?;
        answer.with_context(|| format!("the member at {} says nothing", self.host))
    }

    /// The same, or none if there is none within the time.
    pub(super) fn answer_within(&mut self, time: Duration) -> anyhow::Result<Option<Answer>> {
        match self.process.hear_within(time)? {
            Some(Answer::Failed(reason)) => bail!("the member at {}: {reason}", self.host),
            answer => Ok(answer),
        }
    }

    /// Connects to these addresses.
    pub(super) fn connect(&mut self, addresses: Vec<String>) -> anyhow::Result<()> {
        self.order(&Order::Connect(addresses))?;
        self.answer().map(|_| ())
    }

    /// Bytes of chunks that it has handed to peers, also those that they did not want any more.
    pub(super) fn sent(&mut self) -> anyhow::Result<u64> {
        self.order(&Order::Sent)?;
        match self.answer()? {
            Answer::Sent(bytes) => Ok(bytes),
            other => bail!("{other:?} is no number of bytes"),
        }
    }

    /// Ends it without a word to anybody.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // One that has ended already is no matter.
        let _ = self.kill();
    }
}
