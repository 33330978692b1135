//! A network that lets out TCP to port 443 and nothing else, no UDP at all.

use anyhow::Context as _;

use crate::kind::Kind;
use crate::limits::COMMAND;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let lab = setting.lab(Kind::Cone, Kind::Cone)?;
    lab.only_443("home-a")?;
    let relay = setting.relay(&lab, "relay", &["--wss", "443", "--allow-bulk"]).await?;
    let outside = format!("/ip4/{}/tcp/443/", lab.topology().address("relay")?);
    let wss = relay.ready.addresses.iter().find(|address| address.starts_with(&outside));
    let wss =
        wss.with_context(|| format!("no address with port 443 in {:?}", relay.ready.addresses));
    let plain = stage::full_address(&lab, &relay, Transport::Tcp)?;
    // It is told of all ways, as an invite does, and has to find the one that is open.
    let bootstrap =
        [plain.clone(), stage::full_address(&lab, &relay, Transport::Quic)?, wss?.clone()];
    let both = Transport::ALL;
    let b = setting.join(&lab, "laptop-b", &both, &bootstrap[..1], &[]).await?;
    let a = setting.join(&lab, "laptop-a", &both, &bootstrap, &[]).await?;
    let address = stage::dialable(&lab, &a).await?;
    verdict.note(true, "the closed-in laptop joins and can be dialed over the relay", &address);
    let met = b.user.run_within(&["peers", "--connect", &address], COMMAND).await?;
    let path = view::peer(&b.user, a.peer()).await?.path;
    let seen = format!("{path:?}, {}", met.last_words());
    verdict.note(met.code == Some(0) && path.is_some(), "another one reaches it", seen);

    stage::dialable(&lab, &b).await?;
    let (file, id) = setting.share(&b).await?;
    let fetched = stage::fetch(&a, &id, &["--relay-bulk", "2GB"]).await?;
    let same = stage::is_same(&fetched, &file)?;
    let seen = if same { "byte for byte" } else { fetched.last_words() };
    verdict.note(same, "it fetches a model by that way", seen);
    let peer = view::peer(&a.user, relay.peer()).await?;
    verdict.note(peer.connected, "and is connected by", format!("{:?}", peer.transports));
    let blocked = lab.blocked("home-a")?;
    verdict.note(blocked > 0, "everything else was blocked", format!("{blocked} packets"));
    say(&verdict.to_string());
    Ok(verdict.held())
}
