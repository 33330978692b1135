//! A TAP device: the end of a line inside a namespace.
//!
//! A TAP without offloads gets from the kernel what a wire would carry: whole checksums, no segment
//! over the MTU. It vanishes with its descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use anyhow::{Context as _, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Opcode, Setter, opcode};

use crate::netns;

/// `TUNSETIFF` of linux/if_tun.h.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
/// `IFF_TAP | IFF_NO_PI`: frames, nothing before them.
const TAP: i16 = 0x0002 | 0x1000;

/// `struct ifreq` as far as `TUNSETIFF` reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// One end of a line.
#[derive(Debug)]
pub(crate) struct Tap(File);

impl Tap {
    /// Makes the device `name` in the namespace `space`.
    pub(crate) fn make(space: &str, name: &str) -> anyhow::Result<Self> {
        let device = netns::inside(space, || open(name))?;
        device.with_context(|| {
            format!(
                "cannot make the device {name} in {space}: does /dev/net/tun exist (modprobe tun)?"
            )
        })
    }

    /// The next frame, or none if there is none now.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> anyhow::Result<Option<usize>> {
        match rustix::io::read(&self.0, buffer) {
            Ok(0) => anyhow::bail!("the device is gone"),
            Ok(n) => Ok(Some(n)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            // The device is down for a moment, when its namespace is being made or ends.
            Err(rustix::io::Errno::IO) => Ok(None),
            Err(error) => Err(io::Error::from(error)).context("cannot read from the device"),
        }
    }

    /// Hands a frame over. A device that cannot take it drops it, as an interface does.
    pub(crate) fn write(&self, frame: &[u8]) {
        let _ = rustix::io::write(&self.0, frame);
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(name: &str) -> anyhow::Result<Tap> {
    let mut request = Request { name: [0; 16], flags: TAP, rest: [0; 22] };
    ensure!((1..16).contains(&name.len()), "`{name}`: a device has 1 to 15 letters");
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    attach(&file, request)?;
    Ok(Tap(file.into()))
}

#[expect(unsafe_code, reason = "a device has a name by an ioctl only")]
fn attach(file: &impl AsFd, request: Request) -> io::Result<()> {
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `Request` is in size and layout.
    unsafe { rustix::ioctl::ioctl(file, Setter::<TUNSETIFF, Request>::new(request)) }?;
    Ok(())
}
