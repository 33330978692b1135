//! What ends connections in real life: a relay that restarts, a laptop that sleeps, a laptop that
//! is carried into another network. After each, without a restart, all is as it was.

use std::time::Instant;

use rustix::process::Signal;

use crate::kind::Kind;
use crate::lab::Lab;
use crate::limits::{RECOVERY, SLEEP};
use crate::node::Node;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;
use crate::wait::until;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    RestartRelay,
    Sleep,
    Roam,
}

pub(crate) async fn run(
    setting: &Setting,
    fault: Fault,
    say: &dyn Fn(&str),
) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let mut lab = setting.lab(Kind::Cone, Kind::Cone)?;
    let mut relay = setting.relay(&lab, "relay", &[]).await?;
    let bootstrap = [stage::full_address(&lab, &relay, Transport::Tcp)?];
    let both = Transport::ALL;
    let a = setting.join(&lab, "laptop-a", &both, &bootstrap, &[]).await?;
    let b = setting.join(&lab, "laptop-b", &both, &bootstrap, &[]).await?;
    stage::dialable(&lab, &a).await?;
    stage::dialable(&lab, &b).await?;
    let (file, id) = setting.share_small(&b, 4 << 20).await?;
    let fetched = stage::fetch(&a, &id, &[]).await?;
    let same = stage::is_same(&fetched, &file)?;
    verdict.note(same, "before: a model is fetched", fetched.last_words());

    match fault {
        Fault::RestartRelay => {
            relay = relay.restart().await?;
            verdict.note(true, "the relay was killed and started again", relay.peer());
        }
        Fault::Sleep => {
            a.signal(Signal::STOP)?;
            let asleep = Instant::now();
            let missed = until("the other side to let go", SLEEP, async || {
                match is_connected(&b, &a).await {
                    Ok(false) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
            let missed = missed.await.is_ok();
            let seen = format!("{:.0} s, they let go: {missed}", asleep.elapsed().as_secs_f64());
            verdict.note(missed, "a laptop slept until others gave it up", seen);
            a.signal(Signal::CONT)?;
        }
        Fault::Roam => {
            let address = lab.roam("laptop-a", "cafe")?;
            verdict.note(true, "a laptop was carried into another network", address);
        }
    }

    let whole = whole(&lab, &relay, &a, &b).await;
    let seen = match &whole {
        Ok(seconds) => format!("after {seconds:.1} s"),
        Err(error) => format!("{error:#}"),
    };
    verdict.note(whole.is_ok(), "both are back at the relay and can be dialed", seen);
    // The other way round, so that it is not an old connection that serves.
    let (file, id) = setting.share_small(&a, (4 << 20) + 1).await?;
    let started = Instant::now();
    let fetched = stage::fetch(&b, &id, &[]).await?;
    let same = stage::is_same(&fetched, &file)?;
    let seconds = started.elapsed().as_secs_f64();
    let words = fetched.last_words().to_owned();
    let seen = if same { format!("byte for byte, after {seconds:.1} s") } else { words };
    verdict.note(same, "after: a model is fetched from it", seen);
    let path = view::peer(&b.user, a.peer()).await?.path;
    verdict.note(path.as_deref() == Some("direct"), "directly", format!("{path:?}"));
    say(&verdict.to_string());
    Ok(verdict.held())
}

async fn is_connected(node: &Node, other: &Node) -> anyhow::Result<bool> {
    Ok(view::peer(&node.user, other.peer()).await?.connected)
}

/// Waits until the relay sees both laptops where they are now and they announce an address over it.
async fn whole(lab: &Lab, relay: &Node, a: &Node, b: &Node) -> anyhow::Result<f64> {
    let started = Instant::now();
    for laptop in [a, b] {
        let machine = &laptop.user.machine;
        let here = format!("/ip4/{}/", lab.topology().outside(machine)?);
        until(&format!("{machine} at the relay"), RECOVERY, async || {
            let seen = view::peer(&relay.user, laptop.peer()).await;
            let seen = seen.map_err(|error| format!("{error:#}"))?;
            let back = seen.links.iter().any(|link| link.address.starts_with(&here));
            if back { Ok(()) } else { Err(format!("{:?}", seen.links)) }
        })
        .await?;
        stage::dialable(lab, laptop).await?;
    }
    Ok(started.elapsed().as_secs_f64())
}
