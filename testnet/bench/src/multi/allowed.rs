//! Which algorithms of congestion control a namespace may choose, which is said outside of all
//! namespaces: a setting of the whole machine, so it is put back whatever becomes of this program.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Lets namespaces choose among some algorithms until it is dropped, or this process has ended.
pub(super) struct Allowed {
    /// Puts back what was there when its stdin ends.
    restorer: Child,
}

impl Allowed {
    /// Allows these besides those that are allowed.
    pub(super) fn these(algorithms: &[&str]) -> anyhow::Result<Self> {
        let before = std::fs::read_to_string(ALLOWED).with_context(|| ALLOWED.to_owned())?;
        let before = before.trim();
        let restorer = Command::new(std::env::current_exe()?)
            .args(["restore", ALLOWED, before])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start who puts the setting back")?;
        let allowed = Self { restorer };
        let all = format!("{before} {}", algorithms.join(" "));
        std::fs::write(ALLOWED, all).with_context(|| {
            format!("cannot allow {} in {ALLOWED}: modprobe tcp_bbr", algorithms.join(" and "))
        })?;
        Ok(allowed)
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        let _ = self.restorer.wait();
    }
}

/// The process that puts a setting back when its stdin ends.
pub(crate) fn restore(file: &Path, text: &str) -> anyhow::Result<()> {
    // A Ctrl-C is for who measures, and not for who tidies up.
    rustix::process::setsid().context("cannot leave the terminal")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    std::fs::write(file, text).with_context(|| format!("cannot restore {}", file.display()))
}
