//! Frames of the multiplexer, by hand.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use hive_testnet::attack::{Attacker, Below};

use super::{MIB, lets_in};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const ACK: u16 = 2;
const FIN: u16 = 4;
const RST: u16 = 8;
/// How long the other side may take to say what it thinks of it.
const REACTION: Duration = Duration::from_secs(10);
/// How long it is listened to where no reaction is owed.
const GLANCE: Duration = Duration::from_millis(500);
/// What is in the ping after an attack.
const PROBE: u32 = 0xfeed_beef;
/// What may be kept of all of it.
const GROWTH: u64 = 16 * MIB;

fn frame(kind: u8, flags: u16, stream: u32, len: u32) -> Vec<u8> {
    let mut frame = vec![0, kind];
    frame.extend_from_slice(&flags.to_be_bytes());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&len.to_be_bytes());
    frame
}

/// What the other side does about what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaction {
    /// It closes the connection.
    Ends,
    /// It says farewell and why, which is up to whoever broke the rules to follow.
    Farewell,
    /// It passes over it: the next ping is answered.
    PassesOver,
}

/// What is written on a connection each, what it is, and what has to come of it.
type Attack = (&'static str, Vec<u8>, Option<Reaction>);

fn attacks(dice: &mut Dice) -> Vec<Attack> {
    use Reaction::{Ends, Farewell, PassesOver};
    let open = frame(WINDOW_UPDATE, SYN, 1, 0);
    let after = |frames: &[Vec<u8>]| [open.clone(), frames.concat()].concat();
    let mut nonsense = frame(dice.next() as u8, dice.next() as u16, dice.next() as u32, 64);
    nonsense[0] = 0;
    let mut version = open.clone();
    version[0] = 0xff;
    let credit = |credit| frame(WINDOW_UPDATE, 0, 1, credit);
    let first = [frame(DATA, SYN, 1, 262_145), vec![7; 262_145]].concat();
    let unknown = [frame(DATA, 0, 77, 4), vec![7; 4]].concat();
    let over = after(&[frame(DATA, 0, 1, 262_145), vec![7; 262_145]]);
    let many = (0..2_000).flat_map(|n| frame(WINDOW_UPDATE, SYN, 2 * n + 1, 0)).collect();
    vec![
        ("credit that overflows", after(&vec![credit(0xffff_0000); 2]), Some(Farewell)),
        ("all credit there is, thrice", after(&vec![credit(u32::MAX); 3]), Some(Farewell)),
        ("credit as it opens a stream", frame(WINDOW_UPDATE, SYN, 1, u32::MAX), Some(Farewell)),
        (
            "credit for a stream that is none",
            frame(WINDOW_UPDATE, 0, 77, 1 << 20),
            Some(PassesOver),
        ),
        ("262,145 bytes as it opens a stream", first, Some(Farewell)),
        ("data for a stream that is none", unknown, Some(PassesOver)),
        ("data of 4 GiB", after(&[frame(DATA, 0, 1, u32::MAX), vec![7; 1 << 10]]), Some(Ends)),
        ("more than its window", over, Some(Farewell)),
        ("a stream twice", after(std::slice::from_ref(&open)), Some(Farewell)),
        ("the session as a stream", frame(WINDOW_UPDATE, SYN, 0, 1), Some(Farewell)),
        ("a stream of the other side's", frame(WINDOW_UPDATE, SYN, 2, 0), Some(Farewell)),
        ("the end before the beginning", frame(WINDOW_UPDATE, FIN, 9, 0), Some(PassesOver)),
        ("everything at once", frame(DATA, SYN | ACK | FIN | RST, 3, 0), Some(PassesOver)),
        ("answers that nobody asked for", frame(PING, ACK, 0, 7).repeat(1_000), Some(Farewell)),
        ("pings", frame(PING, SYN, 0, 7).repeat(10_000), Some(PassesOver)),
        ("farewell with data", [frame(GO_AWAY, 0, 0, 9), open.clone()].concat(), Some(Ends)),
        ("another version", version, Some(Ends)),
        ("another kind", frame(9, 0, 1, 0), Some(Ends)),
        // Those that nobody takes are reset before they are too many.
        ("more streams than are allowed", many, Some(PassesOver)),
        // Whatever the dice make of it.
        ("nonsense", [nonsense, vec![7; 64]].concat(), None),
    ]
}

/// What the other side says first that is a reaction.
async fn reaction(stream: &mut Below) -> Reaction {
    let mut body = Vec::new();
    loop {
        let mut header = [0; 12];
        if stream.read_exact(&mut header).await.is_err() {
            return Reaction::Ends;
        }
        let [_, kind, f, g, _, _, _, _, len @ ..] = header;
        let (flags, len) = (u16::from_be_bytes([f, g]), u32::from_be_bytes(len));
        match kind {
            GO_AWAY => return Reaction::Farewell,
            PING if flags & ACK != 0 && len == PROBE => return Reaction::PassesOver,
            // It opens streams of its own, and answers pings.
            DATA => {
                body.resize(len as usize, 0);
                if stream.read_exact(&mut body).await.is_err() {
                    return Reaction::Ends;
                }
            }
            _ => {}
        }
    }
}

pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    let all = rounds(context, |dice| round(context, kind, dice))?;
    let count = |reaction| all.iter().flatten().filter(|seen| **seen == Some(reaction)).count();
    Ok(format!(
        "{} connections ended for it, {} were told, {} times it was passed over; the node never",
        count(Reaction::Ends),
        count(Reaction::Farewell),
        count(Reaction::PassesOver)
    ))
}

async fn round(
    context: &Context,
    kind: Kind,
    mut dice: Dice,
) -> anyhow::Result<Vec<Option<Reaction>>> {
    let mut victim = Victim::start(context, kind).await?;
    let before = victim.figures()?;
    let mut all = Vec::new();
    for (what, frames, owed) in attacks(&mut dice) {
        let attacker = Attacker::new(&victim.network, dice.next());
        let stream = attacker.connect_below(&victim.address).await;
        let mut stream = stream.with_context(|| format!("nobody is there before {what}"))?;
        context.inject(1);
        let attack = [frames, frame(PING, SYN, 0, PROBE)].concat();
        let trying = async {
            // Who has hung up takes nothing more, and what it said before can be read.
            let _ = stream.write_all(&attack).await;
            let _ = stream.flush().await;
            reaction(&mut stream).await
        };
        let patience = if owed.is_some() { REACTION } else { GLANCE };
        let seen = tokio::time::timeout(patience, trying).await.ok();
        if seen == Some(Reaction::Ends) && kind != Kind::Node {
            victim.falls().await.with_context(|| format!("after {what}"))?;
        }
        victim.is_alive().with_context(|| format!("after {what}"))?;
        if owed.is_some() && kind == Kind::Node {
            ensure!(seen == owed, "{what}: {seen:?} where {owed:?} is owed");
        }
        all.push(seen);
    }
    let again = Attacker::new(&victim.network, dice.next());
    again.connect_below(&victim.address).await.context("nobody is there afterwards")?;
    if kind == Kind::Node {
        lets_in(&mut victim, dice.next()).await?;
    }
    let grown = victim.figures()?.memory.saturating_sub(before.memory);
    ensure!(grown < GROWTH, "{grown} bytes are kept of it");
    Ok(all)
}
