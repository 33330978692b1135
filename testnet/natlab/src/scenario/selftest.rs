//! The lab by itself, with plain sockets: each kind of router does what it says, the pairs that can
//! meet do and the others do not, and a line is as slow and as lossy as it was told to be.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::kind::Kind;
use crate::lab::Lab;
use crate::link::Shape;
use crate::probe::{self, PORT, Seen};
use crate::table::{Table, Verdict};
use crate::topology::Topology;

/// Runs everything; prints its tables and returns whether all of it held.
pub(crate) async fn run(topology: &Topology, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    kinds(topology, &mut verdict, say).await.context("the kinds of routers")?;
    pairs(topology, &mut verdict, say).await.context("pairs of laptops")?;
    lines(topology, &mut verdict).context("lines")?;
    faults(topology, &mut verdict).await.context("faults")?;
    say(&format!("{verdict}"));
    Ok(verdict.held())
}

/// How a mapping looks: `4483, 4483`.
fn ports(seen: Seen) -> String {
    format!("{}, {}", seen.first.port(), seen.second.port())
}

/// Whether what two servers saw is what a router of this kind does.
fn is_of(kind: Kind, seen: Seen) -> bool {
    let same = seen.first == seen.second;
    let kept = seen.first.port() == PORT;
    match kind {
        Kind::None | Kind::Cone => same && kept,
        Kind::Remap => same && !kept,
        Kind::Symmetric => !same,
    }
}

async fn kinds(
    topology: &Topology,
    verdict: &mut Verdict,
    say: &dyn Fn(&str),
) -> anyhow::Result<()> {
    let mut table =
        Table::new(["router", "seen by two", "UDP ports", "TCP ports", "unasked UDP, TCP"]);
    for kind in Kind::ALL {
        // Loss would be an answer of the line's, not of the router's.
        let lab = Lab::build(&topology.without_shapes().with_kinds(&[("home-a", kind)])?)?;
        let (udp, udp_open) = probe::udp_through(&lab, "laptop-a")?;
        let (tcp, tcp_open) = probe::tcp_through(&lab, "laptop-a").await?;
        let word = |open| if open { "in" } else { "dropped" };
        let outside = lab.topology().outside("laptop-a")?;
        table.row([
            kind.to_string(),
            outside.to_string(),
            ports(udp),
            ports(tcp),
            format!("{}, {}", word(udp_open), word(tcp_open)),
        ]);
        let address = [udp, tcp].iter().all(|seen| *seen.first.ip() == outside);
        let maps = is_of(kind, udp) && is_of(kind, tcp) && address;
        verdict.note(maps, format!("{kind}: maps as it says"), ports(udp));
        let filters = udp_open != kind.translates() && tcp_open != kind.translates();
        verdict.note(filters, format!("{kind}: filters as it says"), word(udp_open));
    }
    say(&format!("{table}"));
    Ok(())
}

async fn pairs(
    topology: &Topology,
    verdict: &mut Verdict,
    say: &dyn Fn(&str),
) -> anyhow::Result<()> {
    let mut table = Table::new(["plain sockets", "none", "cone", "remap", "symmetric"]);
    let mut wrong = Vec::new();
    for a in Kind::ALL {
        let mut row = vec![a.to_string()];
        for b in Kind::ALL {
            let kinds = [("home-a", a), ("home-b", b)];
            let lab = Lab::build(&topology.without_shapes().with_kinds(&kinds)?)?;
            let udp = probe::udp_meet(&lab, "laptop-a", "laptop-b")?;
            drop(lab);
            let lab = Lab::build(&topology.without_shapes().with_kinds(&kinds)?)?;
            let tcp = probe::tcp_meet(&lab, "laptop-a", "laptop-b").await?;
            let word = match (udp, tcp) {
                (true, true) => "udp tcp",
                (true, false) => "udp",
                (false, true) => "tcp",
                (false, false) => "-",
            };
            if [udp, tcp] != [a.can_meet(b); 2] {
                wrong.push(format!("{a} × {b}: {word}"));
            }
            row.push(word.to_owned());
        }
        let row: [String; 5] = row.try_into().ok().context("five cells")?;
        table.row(row);
    }
    say(&format!("{table}"));
    let seen = if wrong.is_empty() { "all 32".to_owned() } else { wrong.join("; ") };
    verdict.note(wrong.is_empty(), "the pairs that can meet do, and no others", seen);
    Ok(())
}

/// Sends datagrams from one host to another through a line and looks at what arrives.
fn lines(topology: &Topology, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut lab = Lab::build(topology)?;
    let plain = Shape::default();
    for name in ["relay", "observer"] {
        lab.cable(name)?.reshape(plain)?;
    }
    let (from, to) = (probe::udp(&lab, "observer", 7000)?, probe::udp(&lab, "relay", 7000)?);
    let at = (lab.topology().address("relay")?, 7000);
    // The first datagram waits for ARP.
    from.send_to(&[0], at)?;
    to.recv(&mut [0; 8])?;

    lab.cable("relay")?.reshape("delay_ms=60".parse()?)?;
    let sent = Instant::now();
    from.send_to(&[1], at)?;
    to.recv(&mut [0; 8])?;
    let took = sent.elapsed();
    let close = (60..75).contains(&took.as_millis());
    verdict.note(
        close,
        "a line of 60 ms takes 60 ms",
        format!("{:.1} ms", took.as_secs_f64() * 1e3),
    );

    lab.cable("relay")?.reshape("loss=0.25".parse()?)?;
    let (n, mut arrived) = (2000, 0);
    to.set_read_timeout(Some(Duration::from_millis(100)))?;
    for _ in 0..n / 50 {
        // A socket's buffer holds fifty, so what is missing was lost on the line.
        for _ in 0..50 {
            from.send_to(&[2; 100], at)?;
        }
        let mut burst = 0;
        while burst < 50 && to.recv(&mut [0; 128]).is_ok() {
            burst += 1;
        }
        arrived += burst;
    }
    let share = f64::from(arrived) / f64::from(n);
    let told = lab.cable("relay")?.count()?.down;
    verdict.note(
        (0.71..0.79).contains(&share),
        "a line with a loss of 25 % loses a quarter",
        format!("{:.1} % arrived; the line counts {} lost", share * 100.0, told.lost),
    );

    let before = lab.cable("relay")?.reshape("rate_mbit=20".parse()?)?.down;
    let started = Instant::now();
    let mut last = started;
    let mut bytes = 0;
    to.set_read_timeout(Some(Duration::from_millis(200)))?;
    let send = |n| (0..n).try_for_each(|_| from.send_to(&[3; 1000], at).map(drop));
    send(20)?;
    while let Ok(n) = to.recv(&mut [0; 1024]) {
        // What a frame has around a datagram.
        bytes += n + 42;
        last = Instant::now();
        // Two for each that came, twice of what the line carries, until a second has passed.
        if started.elapsed() < Duration::from_secs(1) {
            send(2)?;
        }
    }
    let rate = bytes as f64 * 8.0 / (last - started).as_secs_f64() / 1e6;
    let refused = lab.cable("relay")?.count()?.down.refused - before.refused;
    verdict.note(
        (19.0..21.0).contains(&rate) && refused > 0,
        "a line of 20 Mbit/s carries 20 and drops the rest",
        format!("{rate:.1} Mbit/s, {refused} frames dropped"),
    );
    Ok(())
}

/// Every fault that scenarios use, asserted by its own counter.
async fn faults(topology: &Topology, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut lab =
        Lab::build(&topology.with_kinds(&[("home-a", Kind::Cone), ("home-b", Kind::Cone)])?)?;
    let meet = |lab: &Lab| probe::udp_meet(lab, "laptop-a", "laptop-b");
    let before = meet(&lab)?;
    lab.cut_path("laptop-a", "laptop-b")?;
    let (cut, swallowed) = (meet(&lab)?, lab.swallowed()?);
    lab.heal_path("laptop-a", "laptop-b")?;
    let healed = meet(&lab)?;
    verdict.note(
        before && !cut && healed && swallowed > 0,
        "a path that is cut swallows everything, and a healed one carries",
        format!("{swallowed} packets swallowed"),
    );

    lab.cable("home-a")?.cut()?;
    let unreachable = meet(&lab).is_err();
    let told = lab.cable("home-a")?.heal()?;
    let healed = meet(&lab)?;
    let swallowed = told.up.cut + told.down.cut;
    verdict.note(
        unreachable && healed && swallowed > 0,
        "a line that is cut swallows everything, and a healed one carries",
        format!("{swallowed} frames swallowed"),
    );

    let address = lab.roam("laptop-a", "cafe")?;
    let roamed = meet(&lab)?;
    verdict.note(roamed, "a laptop that moves has another address and is there", address);

    let (outward, private) = (lab.outward("home-b")?, lab.outward("laptop-b")?);
    let socket = probe::udp(&lab, "laptop-b", 9000)?;
    socket.send_to(b"out", (lab.topology().address("relay")?, 9))?;
    socket.send_to(b"in", (lab.topology().router("home-b")?.inside().host(1), 9))?;
    let seen = (lab.outward("home-b")? - outward, lab.outward("laptop-b")? - private);
    verdict.note(
        seen == (1, 1),
        "the counters of what goes outward see one packet out, and none within the home",
        format!("{} at the router, {} at the laptop", seen.0, seen.1),
    );

    lab.only_443("home-b")?;
    let udp = probe::udp_through(&lab, "laptop-b").is_err();
    let tcp = probe::tcp_through(&lab, "laptop-b").await.is_err();
    let https = probe::tcp_at(&lab, "laptop-b", "relay", 443).await?;
    let blocked = lab.blocked("home-b")?;
    verdict.note(
        udp && tcp && https && blocked > 0,
        "a gate lets TCP 443 out and nothing else",
        format!("{blocked} packets blocked"),
    );
    Ok(())
}
