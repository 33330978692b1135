//! A topology that stands: namespaces, lines and rules, and the faults that are put into them.
//!
//! The internet is one namespace that routes between everything public. A host hangs on it by a
//! line; a home is a router with a line on one side and a bridge with its laptops on the other.
//!
//! Invariant: nothing joins these namespaces to the one that the lab was started in, and
//! [`Lab::sealed`] says so before a scenario begins.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::cable::{Cable, End};
use crate::janitor;
use crate::link::Shape;
use crate::netns::Namespace;
use crate::topology::{Laptop, Router, Topology};

/// The internet's own address on every line.
const BACKBONE: Ipv4Addr = Ipv4Addr::new(5, 255, 255, 1);

/// Where a path between two addresses can be cut.
const FAULTS: &str = "table inet faults {
    counter cut { }
    set pairs { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority -10; policy accept;
        ip saddr . ip daddr @pairs counter name cut drop
    }
}
";

/// Counts what leaves a router towards the internet.
const WATCH_ROUTER: &str = "table inet watch {
    counter outward { }
    chain out {
        type filter hook postrouting priority 300; policy accept;
        oifname \"wan\" counter name outward
    }
}
";

/// Counts what a laptop sends to anything but private addresses and its own network.
const WATCH_LAPTOP: &str = "table inet watch {
    counter outward { }
    set private {
        type ipv4_addr; flags interval;
        elements = { 10.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16,
                     224.0.0.0/4, 255.255.255.255 }
    }
    chain out {
        type filter hook output priority 300; policy accept;
        ip daddr != @private counter name outward
    }
}
";

/// A router's gate: nothing leaves but TCP to port 443.
const GATE: &str = "table inet gate {
    counter blocked { }
    chain forward {
        type filter hook forward priority -10; policy accept;
        iifname \"lan\" tcp dport 443 accept
        iifname \"lan\" counter name blocked drop
    }
}
";

/// A topology that stands until this is dropped.
// Fields are dropped in this order: lines before the namespaces that their devices are in.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    cables: BTreeMap<String, Cable>,
    internet: Namespace,
    spaces: BTreeMap<String, Namespace>,
    dir: TempDir,
}

impl Lab {
    /// Builds everything that `topology` says. A [`crate::Janitor`] has to be there already.
    pub fn build(topology: &Topology) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(&janitor::name("")).tempdir();
        let mut lab = Self {
            topology: topology.clone(),
            cables: BTreeMap::new(),
            internet: Namespace::make(janitor::name("internet"))?,
            spaces: BTreeMap::new(),
            dir: dir.context("cannot make a directory for the nodes' homes")?,
        };
        routes(&lab.internet)?;
        lab.internet.nft(FAULTS)?;
        for (number, host) in topology.hosts.iter().enumerate() {
            lab.space(&host.name)?;
            lab.connect(&host.name, "eth0", host.address, host.shape, number as u64)?;
        }
        for (number, router) in topology.routers.iter().enumerate() {
            lab.space(&router.name)?;
            lab.connect(&router.name, "wan", router.wan, router.shape, 1000 + number as u64)?;
            lab.open_home(router)?;
        }
        for laptop in &topology.laptops {
            lab.space(&laptop.name)?.nft(WATCH_LAPTOP)?;
            lab.attach(laptop)?;
        }
        lab.sealed()?;
        Ok(lab)
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Where a machine or a router is.
    pub fn at(&self, name: &str) -> anyhow::Result<&Namespace> {
        if name == "internet" {
            return Ok(&self.internet);
        }
        self.spaces.get(name).with_context(|| format!("the lab has no `{name}`"))
    }

    /// The line of a host or router.
    pub fn cable(&mut self, name: &str) -> anyhow::Result<&mut Cable> {
        self.cables.get_mut(name).with_context(|| format!("`{name}` has no line in the topology"))
    }

    /// A directory that ends with the lab.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The address of a machine.
    pub fn address(&self, name: &str) -> anyhow::Result<Ipv4Addr> {
        self.topology.address(name)
    }

    /// Lets a host's line carry so many megabits a second each way, as the kernel's own queues do
    /// it: cheaper than a shape, and without delay or loss.
    pub fn limit(&self, host: &str, mbit: f64) -> anyhow::Result<()> {
        let rate = (mbit * 1e6) as u64;
        let queue = |device: &str| {
            format!("qdisc replace dev {device} root tbf rate {rate}bit burst 64kb latency 50ms\n")
        };
        self.internet.tc(&queue(&format!("c-{host}")))?;
        self.at(host)?.tc(&queue("eth0"))
    }

    /// Drops, in silence, what goes between two machines directly. What goes over a relay passes.
    pub(crate) fn cut_path(&self, a: &str, b: &str) -> anyhow::Result<()> {
        self.pairs("add", a, b)
    }

    /// Lets it pass again.
    pub(crate) fn heal_path(&self, a: &str, b: &str) -> anyhow::Result<()> {
        self.pairs("delete", a, b)
    }

    fn pairs(&self, verb: &str, a: &str, b: &str) -> anyhow::Result<()> {
        let (a, b) = (self.topology.outside(a)?, self.topology.outside(b)?);
        ensure!(a != b, "both are {a} outside: their path does not cross the internet");
        self.internet.nft(&format!("{verb} element inet faults pairs {{ {a} . {b}, {b} . {a} }}\n"))
    }

    /// Packets that cut paths have swallowed.
    pub(crate) fn swallowed(&self) -> anyhow::Result<u64> {
        self.internet.counter("inet faults", "cut")
    }

    /// Lets a home send nothing but TCP to port 443.
    pub(crate) fn only_443(&self, router: &str) -> anyhow::Result<()> {
        self.at(router)?.nft(GATE)
    }

    /// Packets that a gate has dropped.
    pub(crate) fn blocked(&self, router: &str) -> anyhow::Result<u64> {
        self.at(router)?.counter("inet gate", "blocked")
    }

    /// Packets that a router sent towards the internet, or that a laptop sent to a public address.
    pub(crate) fn outward(&self, name: &str) -> anyhow::Result<u64> {
        self.at(name)?.counter("inet watch", "outward")
    }

    /// Takes a laptop into another home, where it gets another address.
    pub(crate) fn roam(&mut self, laptop: &str, router: &str) -> anyhow::Result<Ipv4Addr> {
        self.topology.router(router)?;
        let old = self.topology.laptop(laptop)?.behind.clone();
        // Its device goes with the other end.
        self.at(&old)?.ip(&format!("link del p-{laptop}"))?;
        let mut moved = None;
        for known in self.topology.laptops.iter_mut().filter(|known| known.name == laptop) {
            router.clone_into(&mut known.behind);
            moved = Some(known.clone());
        }
        self.attach(&moved.context("the laptop was there")?)?;
        self.topology.address(laptop)
    }

    fn space(&mut self, name: &str) -> anyhow::Result<&Namespace> {
        let space = Namespace::make(janitor::name(name))?;
        Ok(self.spaces.entry(name.to_owned()).or_insert(space))
    }

    /// Joins a host or router to the internet.
    fn connect(
        &mut self,
        name: &str,
        device: &str,
        address: Ipv4Addr,
        shape: Option<Shape>,
        number: u64,
    ) -> anyhow::Result<()> {
        let (far, here) = (format!("c-{name}"), self.at(name)?);
        if let Some(shape) = shape {
            let internet = End { space: self.internet.name(), device: &far };
            let seed = self.topology.seed ^ (number << 32);
            let cable = Cable::lay(internet, End { space: here.name(), device }, shape, seed)?;
            self.cables.insert(name.to_owned(), cable);
        } else {
            let there = here.name();
            self.internet
                .ip(&format!("link add {far} type veth peer name {device} netns {there}"))?;
        }
        self.internet.ip(&format!(
            "addr add {BACKBONE}/32 dev {far}\nlink set {far} up\nroute add {address}/32 dev {far}\n"
        ))?;
        self.at(name)?.ip(&format!(
            "addr add {address}/32 dev {device}\nlink set {device} up\n\
             route add {BACKBONE} dev {device}\nroute add default via {BACKBONE} dev {device}\n"
        ))
    }

    /// Makes a router of a machine that is joined to the internet.
    fn open_home(&self, router: &Router) -> anyhow::Result<()> {
        let space = self.at(&router.name)?;
        routes(space)?;
        space.ip(&format!(
            "link add lan type bridge stp_state 0 forward_delay 0\naddr add {}/24 dev lan\n\
             link set lan up\n",
            router.inside().host(1)
        ))?;
        space.nft(&router.kind.rules(router.wan))?;
        space.nft(WATCH_ROUTER)?;
        if !router.kind.translates() {
            let (inside, wan) = (router.inside(), router.wan);
            self.internet.ip(&format!("route add {inside} via {wan} dev c-{}", router.name))?;
        }
        Ok(())
    }

    /// Plugs a laptop into its home.
    fn attach(&self, laptop: &Laptop) -> anyhow::Result<()> {
        let router = self.topology.router(&laptop.behind)?;
        let (space, inside) = (self.at(&laptop.name)?, router.inside());
        self.at(&router.name)?.ip(&format!(
            "link add p-{name} type veth peer name eth0 netns {space}\n\
             link set p-{name} master lan\nlink set p-{name} up\n",
            name = laptop.name,
            space = space.name()
        ))?;
        let (own, gateway) = (inside.host(laptop.number), inside.host(1));
        space.ip(&format!(
            "addr add {own}/24 brd + dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"
        ))
    }

    /// Checks that there is no way out of the lab: every device is one that it made, and the
    /// internet knows no way to an address that is not the lab's.
    fn sealed(&self) -> anyhow::Result<()> {
        let made = |device: &str| {
            ["lo", "eth0", "wan", "lan"].contains(&device)
                || device.starts_with("c-")
                || device.starts_with("p-")
                // Some kernels put these into every namespace, down and without an address.
                || ["sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6tnl0", "ip6gre0",
                    "ip6_vti0", "ifb0", "ifb1"]
                .contains(&device)
        };
        for space in self.spaces.values().chain([&self.internet]) {
            if let Some(other) = space.interfaces()?.into_iter().find(|device| !made(device)) {
                bail!("{} has a device {other}, which the lab did not make", space.name());
            }
        }
        let outside = (Ipv4Addr::new(1, 1, 1, 1), 53);
        let way = self.internet.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(outside)
        })?;
        ensure!(way.is_err(), "the lab's internet has a way to 1.1.1.1, which it must not have");
        Ok(())
    }
}

/// Makes a namespace route.
fn routes(space: &Namespace) -> anyhow::Result<()> {
    space.set("net/ipv4/ip_forward", "1")?;
    // The kernel would tell senders of a shorter way, which is not there for them.
    for scope in ["all", "default"] {
        space.set(&format!("net/ipv4/conf/{scope}/send_redirects"), "0")?;
        space.set(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    Ok(())
}
