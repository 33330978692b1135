//! What the kernel counts at a host: packets and bytes that came in.

use std::fs::read_to_string;
use std::ops::Sub;

/// Bytes of a packet that are Ethernet's, IP's and TCP's, with its timestamps.
const HEADERS: u64 = 14 + 20 + 32;

/// What came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Packets {
    /// TCP's segments.
    tcp: u64,
    /// UDP's datagrams.
    udp: u64,
    /// Packets of any kind, as devices count them: several that came together may be one.
    packets: u64,
    /// Their bytes.
    bytes: u64,
}

impl Packets {
    /// The share of what came over UDP, which is QUIC.
    pub(super) fn quic(&self) -> f64 {
        self.udp as f64 / ((self.tcp + self.udp) as f64).max(1.0)
    }

    /// Bytes in TCP's segments.
    pub(super) fn tcp_payload(&self) -> u64 {
        self.bytes.saturating_sub(self.packets * HEADERS)
    }
}

impl Sub for Packets {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            tcp: self.tcp.saturating_sub(before.tcp),
            udp: self.udp.saturating_sub(before.udp),
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// Reads what came in at the host whose namespace this thread is in.
pub(super) fn read() -> anyhow::Result<Packets> {
    let snmp = read_to_string("/proc/thread-self/net/snmp")?;
    Ok(parse(&snmp, &read_to_string("/proc/thread-self/net/dev")?))
}

fn parse(snmp: &str, devices: &str) -> Packets {
    let (mut packets, mut bytes) = (0, 0);
    for line in devices.lines() {
        let Some((name, figures)) = line.split_once(':') else { continue };
        if name.trim() != "lo" {
            let mut figures = figures.split_whitespace().map_while(|word| word.parse::<u64>().ok());
            bytes += figures.next().unwrap_or(0);
            packets += figures.next().unwrap_or(0);
        }
    }
    let (tcp, udp) = (of(snmp, "Tcp:", "InSegs"), of(snmp, "Udp:", "InDatagrams"));
    Packets { tcp, udp, packets, bytes }
}

/// A figure of a protocol: one line has the names, the next the figures.
fn of(snmp: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with(protocol));
    let (Some(names), Some(figures)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(figures.split_whitespace());
    let found = pairs.find(|(known, _)| *known == name);
    found.and_then(|(_, figure)| figure.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counted_is_read_without_the_loopback() {
        let snmp = "Ip: InReceives\nIp: 9\nTcp: ActiveOpens InSegs\nTcp: 1 30\n\
                    Udp: InDatagrams NoPorts\nUdp: 10 2\nUdpLite: InDatagrams\nUdpLite: 5\n";
        let devices = "Inter-|   Receive  |\n face |bytes packets|bytes\n\
                       lo: 500 5 0\n  eth0: 10000 4 0 0\n";
        let read = parse(snmp, devices);
        assert_eq!(read, Packets { tcp: 30, udp: 10, packets: 4, bytes: 10_000 });
        assert!((read.quic() - 0.25).abs() < 1e-9);
        assert_eq!(read.tcp_payload(), 10_000 - 4 * 66);
        assert_eq!((read - read).tcp_payload(), 0);
    }
}
