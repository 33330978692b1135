//! What every scenario with hive begins with: networks, a relay, laptops that join through it, and
//! a model.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::dice::Dice;
use crate::kind::Kind;
use crate::lab::Lab;
use crate::limits::{FETCH, REACHABLE};
use crate::node::{Ended, Hive, Node, User};
use crate::topology::Topology;
use crate::view::{self, METRICS};
use crate::wait::until;

/// The port that every node of the lab listens on.
const PORT: u16 = 4483;

/// Over what two nodes speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Tcp, Self::Quic];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    /// An address of this transport.
    pub(crate) fn at(self, ip: impl std::fmt::Display) -> String {
        match self {
            Self::Tcp => format!("/ip4/{ip}/tcp/{PORT}"),
            Self::Quic => format!("/ip4/{ip}/udp/{PORT}/quic-v1"),
        }
    }
}

/// What scenarios are given.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) topology: Topology,
    pub(crate) hive: Hive,
    /// Bytes of the model that is fetched.
    pub(crate) size: u64,
    /// A model of one's own instead.
    pub(crate) model: Option<PathBuf>,
}

impl Setting {
    /// Builds the networks with the two homes of these kinds.
    pub(crate) fn lab(&self, home_a: Kind, home_b: Kind) -> anyhow::Result<Lab> {
        Lab::build(&self.topology.with_kinds(&[("home-a", home_a), ("home-b", home_b)])?)
    }

    /// Starts a relay at the host `machine`.
    pub(crate) async fn relay(
        &self,
        lab: &Lab,
        machine: &str,
        more: &[&str],
    ) -> anyhow::Result<Node> {
        let ip = lab.topology().address(machine)?;
        // The host alone stands for every port that the relay listens on.
        let mut args = vec!["relay".to_owned(), "--external-addr".to_owned(), ip.to_string()];
        for transport in Transport::ALL {
            args.extend(["--listen".to_owned(), transport.at("0.0.0.0")]);
        }
        args.extend(["--metrics".to_owned(), format!("{}:{}", METRICS.0, METRICS.1)]);
        args.extend(more.iter().map(|&word| word.to_owned()));
        User::new(lab, &self.hive, machine)?.start(&args).await.context("the relay")
    }

    /// Starts a node at `machine` that listens on `transports` and joins through `bootstrap`.
    pub(crate) async fn join(
        &self,
        lab: &Lab,
        machine: &str,
        transports: &[Transport],
        bootstrap: &[String],
        more: &[&str],
    ) -> anyhow::Result<Node> {
        // Before the lists of addresses, into which an invite's code would fall.
        let mut args = vec!["join".to_owned()];
        args.extend(more.iter().map(|&word| word.to_owned()));
        if !more.contains(&"--name") {
            args.extend(["--name".to_owned(), machine.to_owned()]);
        }
        for transport in transports {
            args.extend(["--listen".to_owned(), transport.at("0.0.0.0")]);
        }
        for address in bootstrap {
            args.extend(["--bootstrap".to_owned(), address.clone()]);
        }
        User::new(lab, &self.hive, machine)?.start(&args).await.with_context(|| machine.to_owned())
    }

    /// Puts the model beside `node`'s home, adds and shares it; its file and id.
    pub(crate) async fn share(&self, node: &Node) -> anyhow::Result<(PathBuf, String)> {
        self.share_sized(node, self.size).await
    }

    /// The same with a model of `size` bytes, whatever model was given.
    pub(crate) async fn share_small(
        &self,
        node: &Node,
        size: u64,
    ) -> anyhow::Result<(PathBuf, String)> {
        Self { model: None, ..self.clone() }.share_sized(node, size).await
    }

    async fn share_sized(&self, node: &Node, size: u64) -> anyhow::Result<(PathBuf, String)> {
        let file = self.model.clone().unwrap_or_else(|| node.user.home().join("model.bin"));
        if self.model.is_none() {
            let mut bytes = vec![0; usize::try_from(size)?];
            Dice::new(self.topology.seed).fill(&mut bytes);
            std::fs::write(&file, bytes)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        let path = file.to_str().context("a path that is no text")?;
        let added = node.user.json(&["add", "--share", path]).await?;
        let id = added["cid"].as_str().context("`hive add` named no id")?.to_owned();
        Ok((file, id))
    }
}

/// The address of a host that listens on `transport`, with who it is.
pub(crate) fn full_address(lab: &Lab, node: &Node, transport: Transport) -> anyhow::Result<String> {
    let ip = lab.topology().address(&node.user.machine)?;
    Ok(format!("{}/p2p/{}", transport.at(ip), node.peer()))
}

/// An address under which `node` can be dialed from the internet: its own, or one over a relay.
pub(crate) async fn dialable(lab: &Lab, node: &Node) -> anyhow::Result<String> {
    let ip = lab.topology().address(&node.user.machine)?;
    let public = lab.topology().outside(&node.user.machine)? == ip;
    until(&format!("{} can be dialed", node.user.machine), REACHABLE, async || {
        let status = view::status(&node.user).await.map_err(|error| format!("{error:#}"))?;
        // That it listens at a public address proves nothing: somebody has to have come in.
        if public && status.reachability != "direct" {
            return Err(format!("reachability {:?}", status.reachability));
        }
        let addresses = status.addresses;
        let own = format!("/ip4/{ip}/");
        let fits = |address: &&String| {
            if public { address.starts_with(&own) } else { address.contains("/p2p-circuit") }
        };
        let found = addresses.iter().find(fits).cloned();
        found.ok_or_else(|| format!("addresses {addresses:?}"))
    })
    .await
}

/// Fetches `id` to the end, within the time of a fetch; how the command ended.
pub(crate) async fn fetch(node: &Node, id: &str, more: &[&str]) -> anyhow::Result<Ended> {
    let mut args = vec!["fetch", id];
    args.extend(more);
    node.user.run_within(&args, FETCH).await
}

/// Whether what a fetch printed is the same file, byte for byte.
pub(crate) fn is_same(ended: &Ended, original: &std::path::Path) -> anyhow::Result<bool> {
    if ended.code != Some(0) {
        return Ok(false);
    }
    let copy = PathBuf::from(ended.stdout.trim());
    same_bytes(&copy, original)
}

/// Whether two files have the same bytes.
pub(crate) fn same_bytes(a: &std::path::Path, b: &std::path::Path) -> anyhow::Result<bool> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    if a == b {
        bail!("{} is compared with itself", a.display());
    }
    Ok(read(a)? == read(b)?)
}
