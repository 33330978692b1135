//! Statements that come again, too late, too early, or changed.
//!
//! The victim's clock is the machine's. What is old is dated back and heard as such, as long as it
//! may count; then the same bytes are said again by somebody else, before a restart and after. What
//! may not count for its age has a number that nobody has heard yet, so that its age is all there is
//! to refuse it for.

use anyhow::{Context as _, ensure};
use hive_testnet::attack::Attacker;

use super::now;
use super::speaker::{Speaker, capability, capability_in, heard};
use crate::dice::Dice;
use crate::peers::rounds;
use crate::scenario::Context;
use crate::victim::{Kind, Victim};

const HOUR: u64 = 3_600;
/// What the last true statement says.
const TRUE: u64 = 2;
/// What a statement says that must not count.
const FALSE: u64 = 666;

pub(super) fn run(context: &Context, kind: Kind) -> anyhow::Result<String> {
    rounds(context, |dice| round(context, kind, dice))?;
    Ok("none counted, before the restart nor after".to_owned())
}

/// Statements that must not count, each with who says to be its author.
fn false_statements(author: &Attacker, other: &Attacker) -> Vec<(&'static str, Attacker, Vec<u8>)> {
    let now = now();
    let of = |attacker: &Attacker, seq, issued| capability(attacker, seq, FALSE, issued);
    let mut forged = of(author, 17, now);
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    let elsewhere = capability_in("other", author, 16, FALSE, now);
    vec![
        // Newer by their numbers: their age is all there is to say against them.
        ("of 25 hours ago with a higher number", author.clone(), of(author, 12, now - 25 * HOUR)),
        ("that ended a minute ago", author.clone(), of(author, 13, now - 24 * HOUR - 60)),
        ("of tomorrow", author.clone(), of(author, 14, now + 24 * HOUR)),
        // Older by their numbers, though they say to be new.
        ("with a number from before", author.clone(), of(author, 9, now)),
        ("of the same number, changed", author.clone(), of(author, 11, now)),
        ("of another network", author.clone(), elsewhere),
        ("with a changed byte", author.clone(), forged),
        ("of somebody else's mouth", other.clone(), of(author, 18, now)),
    ]
}

async fn round(context: &Context, kind: Kind, mut dice: Dice) -> anyhow::Result<()> {
    let mut victim = Victim::start(context, kind).await?;
    let author = Attacker::new(&victim.network, dice.next());
    // What counts when it is first heard, as old as it is, and what is true in the end.
    let now = now();
    let heard_before = [
        capability(&author, 5, 11, now - HOUR),
        capability(&author, 8, 12, now - 61),
        capability(&author, 11, TRUE, now),
    ];
    let mut speaker = Speaker::join(author.clone(), &victim.address).await?;
    for (statement, models) in heard_before.iter().zip([11, 12, TRUE]) {
        speaker.pass_on(&author, statement).await?;
        heard(&mut victim, &author.peer(), models).await?;
    }

    let other = Attacker::new(&victim.network, dice.next());
    let mut statements = false_statements(&author, &other);
    let [hour, minute, _] = &heard_before;
    statements.push(("of an hour ago, the same bytes again,", author.clone(), hour.clone()));
    statements.push(("of 61 s ago, the same bytes again,", author.clone(), minute.clone()));
    for (what, as_whom, statement) in &statements {
        context.inject(1);
        after(&mut victim, &mut dice, as_whom, statement).await?;
        let believed = victim.models(&author.peer()).await?;
        ensure!(believed == Some(TRUE), "a statement {what} made it believe {believed:?}");
    }
    if kind != Kind::Node {
        return Ok(());
    }

    victim.restart().await.context("the restart")?;
    // It remembers of what it was told no more than how far it had come.
    let _again = Speaker::join(author.clone(), &victim.address).await?;
    let (_, _, aged) = &statements[0];
    for statement in heard_before.iter().chain([aged]) {
        context.inject(1);
        after(&mut victim, &mut dice, &author, statement).await?;
        let believed = victim.models(&author.peer()).await?;
        ensure!(believed.is_none(), "after a restart it believed {believed:?} again");
    }
    let mut speaker = Speaker::join(author.clone(), &victim.address).await?;
    speaker.say(20, 3).await?;
    heard(&mut victim, &author.peer(), 3).await.context("what is new has to count")
}

/// Lets a newcomer pass a statement on, and waits until the victim has heard what it says next.
async fn after(
    victim: &mut Victim,
    dice: &mut Dice,
    author: &Attacker,
    statement: &[u8],
) -> anyhow::Result<()> {
    let newcomer = Attacker::new(&victim.network, dice.next());
    let mut newcomer = Speaker::join(newcomer, &victim.address).await?;
    newcomer.pass_on(author, statement).await?;
    newcomer.say(1, 7).await?;
    heard(victim, &newcomer.attacker.peer(), 7).await
}
