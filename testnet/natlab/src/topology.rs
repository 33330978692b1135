//! The file that says which networks there are: read, checked, and never half believed.
//!
//! An error names the line. Names, addresses and references are checked here, so that building a lab
//! fails for reasons of the machine only.

mod read;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context as _;

use crate::kind::Kind;
use crate::link::Shape;

/// What is used when no file is named.
pub(crate) const DEFAULT: &str = include_str!("../topology.toml");

/// Everything that the lab is.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Decides the dice of every line.
    pub(crate) seed: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) routers: Vec<Router>,
    pub(crate) laptops: Vec<Laptop>,
}

/// A machine on the internet.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) shape: Option<Shape>,
}

/// A home's way out.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) wan: Ipv4Addr,
    /// The network behind it when it translates.
    pub(crate) lan: Subnet,
    /// The network behind it when it does not.
    pub(crate) public: Subnet,
    pub(crate) shape: Option<Shape>,
}

/// A machine behind a router.
#[derive(Debug, Clone)]
pub(crate) struct Laptop {
    pub(crate) name: String,
    pub(crate) behind: String,
    /// Its number in the router's network.
    pub(crate) number: u8,
}

/// 256 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet([u8; 3]);

impl Subnet {
    pub(crate) fn host(self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, number)
    }

    fn parse(text: &str) -> Option<Self> {
        let address: Ipv4Addr =
            text.strip_suffix(".0/24").map(|net| format!("{net}.0"))?.parse().ok()?;
        let [a, b, c, _] = address.octets();
        Some(Self([a, b, c]))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/24", self.host(0))
    }
}

impl Router {
    /// The network that is behind it now.
    pub(crate) fn inside(&self) -> Subnet {
        if self.kind.translates() { self.lan } else { self.public }
    }
}

impl Topology {
    /// Reads the file at `path`, or the one that comes with the lab.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Self::parse(DEFAULT).context("topology.toml") };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Hosts on the internet and nothing else, each with its line; one without is never the
    /// bottleneck. `seed` decides the dice of the lines.
    pub fn of_hosts(
        seed: u64,
        hosts: impl IntoIterator<Item = (String, Option<Shape>)>,
    ) -> anyhow::Result<Self> {
        let host = |(number, (name, shape)): (usize, (String, Option<Shape>))| {
            let number = u8::try_from(number + 1).context("more than 254 hosts")?;
            Ok(Host { name, address: Ipv4Addr::new(5, 0, 1, number), shape })
        };
        let hosts = hosts.into_iter().enumerate().map(host).collect::<anyhow::Result<_>>()?;
        Ok(Self { seed, hosts, routers: Vec::new(), laptops: Vec::new() })
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        read::read(text)
    }

    /// The same with routers of other kinds.
    pub(crate) fn with_kinds(&self, kinds: &[(&str, Kind)]) -> anyhow::Result<Self> {
        let mut topology = self.clone();
        for (name, kind) in kinds {
            let router = topology.routers.iter_mut().find(|router| router.name == *name);
            router.with_context(|| format!("the topology has no router `{name}`"))?.kind = *kind;
        }
        Ok(topology)
    }

    /// The same without lines: delay, loss and rate are gone, everything else stays.
    pub(crate) fn without_shapes(&self) -> Self {
        let mut topology = self.clone();
        topology.hosts.iter_mut().for_each(|host| host.shape = None);
        topology.routers.iter_mut().for_each(|router| router.shape = None);
        topology
    }

    pub(crate) fn router(&self, name: &str) -> anyhow::Result<&Router> {
        let router = self.routers.iter().find(|router| router.name == name);
        router.with_context(|| format!("the topology has no router `{name}`"))
    }

    pub(crate) fn laptop(&self, name: &str) -> anyhow::Result<&Laptop> {
        let laptop = self.laptops.iter().find(|laptop| laptop.name == name);
        laptop.with_context(|| format!("the topology has no laptop `{name}`"))
    }

    /// The address that a machine has itself.
    pub(crate) fn address(&self, name: &str) -> anyhow::Result<Ipv4Addr> {
        if let Some(host) = self.hosts.iter().find(|host| host.name == name) {
            return Ok(host.address);
        }
        let laptop = self.laptop(name)?;
        Ok(self.router(&laptop.behind)?.inside().host(laptop.number))
    }

    /// The address that the internet sees it under.
    pub(crate) fn outside(&self, name: &str) -> anyhow::Result<Ipv4Addr> {
        let Ok(laptop) = self.laptop(name) else { return self.address(name) };
        let router = self.router(&laptop.behind)?;
        Ok(if router.kind.translates() { router.wan } else { self.address(name)? })
    }

    /// How many machines and routers there are of each name: none may be there twice.
    fn names(&self) -> BTreeMap<&str, usize> {
        let mut names = BTreeMap::new();
        let hosts = self.hosts.iter().map(|host| &host.name);
        let routers = self.routers.iter().map(|router| &router.name);
        let laptops = self.laptops.iter().map(|laptop| &laptop.name);
        for name in hosts.chain(routers).chain(laptops) {
            *names.entry(name.as_str()).or_default() += 1;
        }
        names
    }
}

#[cfg(test)]
mod tests;
