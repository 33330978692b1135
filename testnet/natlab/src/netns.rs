//! Network namespaces: made, entered, told what to be, and removed.
//!
//! Their names begin with the lab's prefix and pid, so that [`crate::janitor`] can tell what a lab
//! that died has left. Nothing here touches the namespace that the program was started in.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where iproute2 keeps the names.
pub(crate) const NAMES: &str = "/run/netns";

/// A namespace that ends with this.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with its loopback interface up and without IPv6, of which the lab has none.
    pub(crate) fn make(name: String) -> anyhow::Result<Self> {
        tool("ip", &["netns", "add", &name], "")?;
        let space = Self { name };
        for scope in ["all", "default"] {
            space.set(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        }
        space.ip("link set lo up")?;
        Ok(space)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs commands of `ip`, one a line.
    pub(crate) fn ip(&self, lines: &str) -> anyhow::Result<()> {
        tool("ip", &["-n", &self.name, "-batch", "-"], lines)?;
        Ok(())
    }

    /// Runs commands of `tc`, one a line.
    pub(crate) fn tc(&self, lines: &str) -> anyhow::Result<()> {
        tool("tc", &["-n", &self.name, "-batch", "-"], lines)?;
        Ok(())
    }

    /// A command that runs `program` here until it or this process ends. It may be spawned from a
    /// thread only that stays for as long.
    pub fn command(&self, program: &Path) -> anyhow::Result<Command> {
        command(&self.name, program)
    }

    /// Loads rules, all or none.
    pub(crate) fn nft(&self, rules: &str) -> anyhow::Result<()> {
        tool("ip", &["netns", "exec", &self.name, "nft", "-f", "-"], rules)?;
        Ok(())
    }

    /// Packets that the named counter of `table` (as in `inet faults`) has seen.
    pub(crate) fn counter(&self, table: &str, counter: &str) -> anyhow::Result<u64> {
        let mut args = vec!["netns", "exec", &self.name, "nft", "list", "counter"];
        args.extend(table.split(' '));
        args.push(counter);
        let listed = tool("ip", &args, "")?;
        let words: Vec<&str> = listed.split_whitespace().collect();
        let packets = words.windows(2).find(|pair| pair[0] == "packets").map(|pair| pair[1]);
        let packets = packets.with_context(|| format!("no packets in `{listed}`"))?;
        packets.parse().with_context(|| format!("`{packets}` packets"))
    }

    /// Sets a value below /proc/sys.
    pub fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let path = PathBuf::from("/proc/sys").join(key);
        // A kernel without IPv6 has nothing to switch off.
        if key.starts_with("net/ipv6") && !Path::new("/proc/sys/net/ipv6").exists() {
            return Ok(());
        }
        let written = inside(&self.name, || std::fs::write(&path, value))?;
        written.with_context(|| format!("cannot set {} in {}", path.display(), self.name))
    }

    /// Runs `work` in this namespace. Sockets that it makes stay here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        inside(&self.name, work)
    }

    /// The interfaces that it has.
    pub(crate) fn interfaces(&self) -> anyhow::Result<Vec<String>> {
        // Not /proc/net, which is that of the process.
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        let text = text.context("cannot read /proc/thread-self/net/dev")?;
        Ok(text
            .lines()
            .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
            .collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What fails here is left to the janitor, which looks again.
        let _ = tool("ip", &["netns", "del", &self.name], "");
    }
}

/// Runs `work` on a thread that is in the namespace `name`.
pub(crate) fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| enter(name).map(|()| work()));
        worker.join().map_err(|_| anyhow::anyhow!("the work in {name} panicked"))?
    })
}

/// A command that runs `program` in the namespace `name`; see [`Namespace::command`].
pub(crate) fn command(name: &str, program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("who am I?")?);
    command.args(["enter", name, &std::process::id().to_string(), "--"]).arg(program);
    Ok(command)
}

/// Moves this thread into the namespace `name`.
pub(crate) fn enter(name: &str) -> anyhow::Result<()> {
    let path = Path::new(NAMES).join(name);
    let file = File::open(&path)
        .with_context(|| format!("there is no namespace {name} ({})", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {name}: this needs root"))
}

/// Runs a tool with `input` and returns what it printed; its complaint is the error.
pub(crate) fn tool(program: &str, args: &[&str], input: &str) -> anyhow::Result<String> {
    let shown = || format!("{program} {}", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`: install iproute2 and nftables"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that ends early says why on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(shown)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{}` failed: {}\n{input}", shown(), complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(shown)
}

/// Says what is missing before anything is made.
pub fn check() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab makes network namespaces and needs root: run it with sudo, or in a container \
         with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    );
    for (program, args, package) in [
        ("ip", ["-V"].as_slice(), "iproute2"),
        ("tc", &["-V"], "iproute2"),
        ("nft", &["-v"], "nftables"),
    ] {
        let there = Command::new(program).args(args).stdout(Stdio::null()).status();
        ensure!(
            there.is_ok_and(|status| status.success()),
            "the lab needs `{program}`, which is in the package {package} (Debian: apt-get install \
             iproute2 nftables)"
        );
    }
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "the lab's lines need /dev/net/tun: modprobe tun, or give the container that device"
    );
    Ok(())
}
