//! `--lan-only`: two machines in one home find each other and share a model, and not one packet
//! leaves for the internet.

use crate::kind::Kind;
use crate::limits::REACHABLE;
use crate::probe;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;
use crate::wait::until;

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let lab = setting.lab(Kind::Cone, Kind::Cone)?;
    let both = Transport::ALL;
    // A bootstrap node that is not in the home, so that there is somebody to be tempted by.
    let tempting = format!("/ip4/{}/tcp/4483", lab.topology().address("relay")?);
    let lan = ["--lan-only", "--external", &tempting];
    let a = setting.join(&lab, "laptop-a", &both, &[], &lan[..1]).await?;
    let b = setting.join(&lab, "desktop-a", &both, &[], &lan[..1]).await?;
    let seen = until("the two machines to meet", REACHABLE, async || {
        match view::peer(&a.user, b.peer()).await {
            Ok(peer) if peer.connected => Ok(format!("by mDNS, named {:?}", peer.name)),
            Ok(peer) => Err(format!("{peer:?}")),
            Err(error) => Err(format!("{error:#}")),
        }
    });
    verdict.note(true, "two machines in one home meet", seen.await?);
    let (file, id) = setting.share(&b).await?;
    let fetched = stage::fetch(&a, &id, &[]).await?;
    let same = stage::is_same(&fetched, &file)?;
    let seen = if same { "byte for byte" } else { fetched.last_words() };
    verdict.note(same, "one fetches the other's model", seen);

    let counts = || -> anyhow::Result<[u64; 3]> {
        Ok([lab.outward("home-a")?, lab.outward("laptop-a")?, lab.outward("desktop-a")?])
    };
    let quiet = counts()?;
    let seen = format!("{} at the router, {} and {} at the machines", quiet[0], quiet[1], quiet[2]);
    verdict.note(quiet == [0; 3], "no packet leaves the private ranges", seen);
    // A counter that never counts would have said the same.
    let target = (lab.topology().address("relay")?, 9);
    for machine in ["laptop-a", "desktop-a"] {
        probe::udp(&lab, machine, 9000)?.send_to(b"out", target)?;
    }
    let loud = counts()?;
    let seen = format!("{}, {} and {} after one packet each", loud[0], loud[1], loud[2]);
    verdict.note(loud == [2, 1, 1], "the counters do count", seen);
    say(&verdict.to_string());
    Ok(verdict.held())
}
