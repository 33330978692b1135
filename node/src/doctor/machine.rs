//! What this machine shows by itself: disk, clock, sockets, the local network.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use hive_api::{Check, Level};
use hive_protocol::limits::CLOCK_SKEW_SECS;

use super::{graded, source};
use crate::reach::why::is_private;

/// Free bytes below which no model of use fits, and below which few do.
const SPACE_FAIL: u64 = 1_000_000_000;
const SPACE_WARN: u64 = 10_000_000_000;
/// Bytes written to see how fast the disk is, at most, and for how long at most.
const WRITTEN: usize = 32 << 20;
const WRITING: Duration = Duration::from_millis(500);
/// Bytes of one write.
const PIECE: usize = 1 << 20;
/// Bytes a second below which the disk slows a fetch over a usual link.
const WRITE_WARN: f64 = 30e6;
/// A clock that is off by so many seconds is worth a word.
const CLOCK_WARN: u64 = 30;
/// What Linux gives a socket if nobody says.
#[cfg(target_os = "linux")]
const UDP_BUFFER: u64 = 212_992;
/// Where mDNS talks.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// How long a packet to oneself may take.
const LOOP: Duration = Duration::from_millis(500);
/// File systems that are elsewhere.
const REMOTE: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.cephfs",
    "fuse.s3fs",
    "fuse.rclone",
    "virtiofs",
];

/// How concerning something is.
fn level(fails: bool, warns: bool) -> Level {
    match (fails, warns) {
        (true, _) => Level::Fail,
        (false, true) => Level::Warn,
        (false, false) => Level::Ok,
    }
}

/// Whether there is room for models.
pub(super) fn space(free: u64) -> Check {
    let level = level(free < SPACE_FAIL, free < SPACE_WARN);
    let found = format!("{:.1} GB free for models", free as f64 / 1e9);
    graded(
        "disk",
        found,
        level,
        "make room: `hive gc -n` lists what nothing holds, `hive rm` removes a model, `hive config` shows quota and reserve",
    )
}

/// Whether the home is on this machine's own disk, where locks and the index are safe.
pub(super) fn file_system(home: &Path) -> Check {
    let name = "file system";
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return Check::ok(name, "this system does not tell where the home is mounted from");
    };
    let home = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    match mounted(&mounts, &home) {
        Some(kind) if REMOTE.contains(&kind) => Check::warn(
            name,
            format!("`{}` is on `{kind}`, a network file system", home.display()),
            "keep the home on a disk of this machine (`--home DIR`): locks and the index are not safe over a network, and reads come twice over the wire",
        ),
        Some(kind) => Check::ok(name, format!("the home is on `{kind}`")),
        None => Check::ok(name, "this system does not tell where the home is mounted from"),
    }
}

/// The kind of file system that a path is on: that of the longest mount point before it, the last
/// one if there are several.
fn mounted<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then_some((point.len(), after.split(' ').next()?))
    });
    mounts.max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// How fast bytes come to rest in the home.
pub(super) fn write_speed(home: &Path) -> Check {
    let name = "write speed";
    match write(home) {
        Ok((rate, sync)) => {
            let level = if rate < WRITE_WARN { Level::Warn } else { Level::Ok };
            let found = format!(
                "{:.0} MB/s written and synced; one small sync takes {:.1} ms",
                rate / 1e6,
                sync.as_secs_f64() * 1000.0
            );
            graded(
                name,
                found,
                level,
                "the disk is slower than most links: put the home on another (`--home DIR`), or expect fetches at its speed",
            )
        }
        Err(error) => Check::fail(
            name,
            format!("cannot write into `{}`: {error}", home.display()),
            "give this user the right to write there, or choose another home (`--home DIR`)",
        ),
    }
}

/// Bytes a second, and the time of a sync with little to sync.
fn write(home: &Path) -> io::Result<(f64, Duration)> {
    let path = home.join(format!(".doctor-{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| {
        let piece: Vec<u8> = (0..PIECE).map(|n| (n * 31 % 251) as u8).collect();
        let begun = Instant::now();
        let mut bytes = 0;
        while bytes < WRITTEN && begun.elapsed() < WRITING {
            file.write_all(&piece)?;
            bytes += PIECE;
        }
        file.sync_data()?;
        let rate = bytes as f64 / begun.elapsed().as_secs_f64().max(1e-6);
        let begun = Instant::now();
        file.write_all(&piece[..4096])?;
        file.sync_data()?;
        Ok((rate, begun.elapsed()))
    });
    // A file that was not made needs no end.
    let _ = fs::remove_file(&path);
    written
}

/// What the system gives a socket of UDP, which is all that QUIC has.
#[cfg(target_os = "linux")]
pub(super) fn udp_buffers() -> Check {
    let read = |key: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/net/core/{key}")).ok()?.trim().parse().ok()
    };
    let name = "udp buffers";
    let Some(bytes) = read("rmem_default") else {
        return Check::ok(name, "this system does not tell");
    };
    let level = if bytes < UDP_BUFFER { Level::Warn } else { Level::Ok };
    let found = format!(
        "{} KiB a socket; with less than 2500 KiB, QUIC over fast and long links loses packets that TCP does not",
        bytes >> 10
    );
    graded(
        name,
        found,
        level,
        "sudo sysctl -w net.core.rmem_default=2500000 net.core.rmem_max=2500000 (and into /etc/sysctl.d/)",
    )
}

/// What the system gives a socket of UDP.
#[cfg(not(target_os = "linux"))]
pub(super) fn udp_buffers() -> Check {
    Check::ok("udp buffers", "this system sizes them by itself")
}

/// Whether there is a way to the internet over IPv6, which knows no address translation.
pub(super) fn ipv6() -> Check {
    match source(false) {
        Some(ip) if !is_private(ip) => Check::ok("ipv6", format!("this machine is {ip}")),
        _ => Check::ok("ipv6", "none; peers that have nothing else are reached through relays"),
    }
}

/// Whether a packet for the local network comes back.
pub(super) fn multicast() -> Check {
    let name = "multicast";
    match echo() {
        Ok(()) => Check::ok(name, "the local network can be asked for neighbours"),
        Err(error) => Check::warn(
            name,
            format!("packets to {GROUP} do not come back: {error}"),
            "nodes of this network will not find each other by themselves: let the firewall pass UDP port 5353, or give addresses with `--bootstrap` (guest Wi-Fi and VPNs often block it)",
        ),
    }
}

/// The same where nobody is looked for.
pub(super) fn no_multicast() -> Check {
    Check::ok("multicast", "neighbours are not looked for (`mdns` is off)")
}

/// Sends a packet to the group, to a port of our own, and waits for it.
fn echo() -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
    socket.set_multicast_loop_v4(true)?;
    // No router passes it on.
    socket.set_multicast_ttl_v4(1)?;
    socket.set_read_timeout(Some(LOOP))?;
    let said = format!("hive doctor {}", std::process::id());
    socket.send_to(said.as_bytes(), (GROUP, socket.local_addr()?.port()))?;
    let mut heard = [0; 64];
    let (len, _) = socket.recv_from(&mut heard)?;
    if heard[..len] == *said.as_bytes() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "something else came"))
    }
}

/// What others' clocks say of ours.
pub(super) fn clock(ahead: Option<(i64, usize)>) -> Check {
    let Some((ahead, n)) = ahead else {
        return Check::ok("clock", "cannot know: no peer has announced anything yet");
    };
    let off = ahead.unsigned_abs();
    let way = if ahead > 0 { "behind" } else { "before" };
    let level = level(off > CLOCK_SKEW_SECS, off > CLOCK_WARN);
    let found = match level {
        Level::Ok => format!("agrees with {n} others within {CLOCK_WARN} s"),
        Level::Warn | Level::Fail => format!("{off} s {way} the clocks of {n} others"),
    };
    graded(
        "clock",
        found,
        level,
        "set the clock: `sudo timedatectl set-ntp true`; what others sign counts only near its time",
    )
}

/// Bytes a second of the link that packets to the internet take, if the system tells.
pub(super) fn link_speed() -> Option<(String, f64)> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let link = default_link(&routes)?;
    let speed = fs::read_to_string(format!("/sys/class/net/{link}/speed")).ok()?;
    // Wireless links and bridges without members say -1.
    let megabits: u64 = speed.trim().parse().ok()?;
    Some((link.to_owned(), megabits as f64 * 1e6 / 8.0))
}

/// The interface of the route that leads everywhere.
fn default_link(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (link, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then_some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_next_to_the_path_counts() {
        let mounts = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 0:41 / /home/bee/my\\040disk rw - xfs /dev/sdb1 rw
bad line
";
        for (path, kind) in [
            ("/srv/hive", "ext4"),
            ("/home/bee/.hive", "nfs4"),
            ("/home/bee/my disk/hive", "xfs"),
            ("/homes", "ext4"),
        ] {
            assert_eq!(mounted(mounts, Path::new(path)), Some(kind), "{path}");
        }
    }

    #[test]
    fn a_home_is_written_to_and_left_as_it_was() {
        let home = tempfile::tempdir().expect("a directory");
        let check = write_speed(home.path());
        assert!(check.found.contains("MB/s"), "{check:?}");
        assert_eq!(fs::read_dir(home.path()).expect("it is there").count(), 0);
        assert_eq!(write_speed(&home.path().join("missing")).level, Level::Fail);
    }

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        assert_eq!(clock(None).level, Level::Ok);
        assert!(clock(None).found.starts_with("cannot know"));
        for (ahead, level) in
            [(0, Level::Ok), (-30, Level::Ok), (31, Level::Warn), (-301, Level::Fail)]
        {
            assert_eq!(clock(Some((ahead, 3))).level, level, "{ahead}");
        }
        assert!(clock(Some((900, 1))).found.contains("900 s behind"));
        assert!(clock(Some((-900, 1))).found.contains("900 s before"));
    }

    #[test]
    fn room_is_judged_by_what_models_take() {
        let level = |free| space(free).level;
        assert_eq!(
            (level(0), level(5_000_000_000), level(1 << 40)),
            (Level::Fail, Level::Warn, Level::Ok)
        );
    }

    #[test]
    fn the_default_route_names_the_link() {
        let routes =
            "Iface\tDestination\tGateway\ndocker0\t000011AC\t0\neth0\t00000000\t010011AC\n";
        assert_eq!(default_link(routes), Some("eth0"));
        assert_eq!(default_link("Iface\tDestination\n"), None);
    }
}
