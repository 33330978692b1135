//! A model between two laptops behind routers, over a punched path that is cut half way.

use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::kind::Kind;
use crate::lab::Lab;
use crate::limits::{CUT, FETCH, RECOVERY, SIGNALLING, WINDOW};
use crate::node::{Followed, Node};
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;
use crate::wait::within;

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let mut lab = setting.lab(Kind::Cone, Kind::Remap)?;
    let relay = setting.relay(&lab, "relay", &[]).await?;
    let bootstrap = [stage::full_address(&lab, &relay, Transport::Tcp)?];
    let both = Transport::ALL;
    let a = setting.join(&lab, "laptop-a", &both, &bootstrap, &[]).await?;
    let b = setting.join(&lab, "laptop-b", &both, &bootstrap, &[]).await?;
    stage::dialable(&lab, &b).await?;
    let over_relay = lab.cable("relay")?.count()?.delivered_bytes();
    cut_half_way(setting, &mut lab, [&a, &b], &[], &mut verdict).await?;
    let path = view::peer(&a.user, b.peer()).await?.path;
    verdict.note(path.as_deref() == Some("direct"), "it came directly", format!("{path:?}"));
    let relayed = lab.cable("relay")?.count()?.delivered_bytes() - over_relay;
    verdict.note(relayed < SIGNALLING, "none of it crossed the relay", format!("{relayed} bytes"));
    say(&verdict.to_string());
    Ok(verdict.held())
}

/// The first node fetches the second's model, and loses the path between their homes half way.
pub(crate) async fn cut_half_way(
    setting: &Setting,
    lab: &mut Lab,
    [a, b]: [&Node; 2],
    more: &[&str],
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let (file, id) = setting.share(b).await?;
    let size = std::fs::metadata(&file)?.len();
    let over_line = lab.cable("home-a")?.count()?.down.delivered_bytes;
    let mut args = vec!["fetch", &id];
    args.extend(more);
    let mut fetch = a.user.follow(&args)?;
    within("half of the model", FETCH, half(&mut fetch, size)).await?;
    let before = lab.swallowed()?;
    cut(lab, &mut fetch).await?;
    let swallowed = lab.swallowed()? - before;
    let healed = Instant::now();
    let seen = format!("{swallowed} packets swallowed in {} s", CUT.as_secs());
    verdict.note(swallowed > 0, "half way the path was cut, in silence", seen);
    let done = within("the rest", RECOVERY.max(FETCH), done(&mut fetch)).await?;
    let code = fetch.code().await?;
    let copy = done["path"].as_str().context("the last event has no path")?;
    let same = code == Some(0) && stage::same_bytes(copy.as_ref(), &file)?;
    let seconds = healed.elapsed().as_secs_f64();
    let seen = format!("{} bytes, {seconds:.1} s after it healed", done["bytes"]);
    verdict.note(same, "it resumed and is whole, byte for byte", seen);
    let again = lab.cable("home-a")?.count()?.down.delivered_bytes - over_line;
    // A tenth for headers and what was sent twice, and what was under way when the path was cut.
    let allowed = size + size / 10 + WINDOW;
    let seen = format!("{again} of at most {allowed} bytes over the line");
    verdict.note(again < allowed, "what was there was not fetched again", seen);
    Ok(())
}

/// Cuts the path for a while, in which the fetch must not come to its end.
async fn cut(lab: &Lab, fetch: &mut Followed) -> anyhow::Result<()> {
    lab.cut_path("laptop-a", "laptop-b")?;
    if let Ok(ended) = tokio::time::timeout(CUT, done(fetch)).await {
        bail!("the fetch ended although its path was cut: {ended:?}");
    }
    lab.heal_path("laptop-a", "laptop-b")
}

/// Reads events until half of the bytes are there.
pub(crate) async fn half(fetch: &mut Followed, size: u64) -> anyhow::Result<()> {
    while let Some(event) = fetch.next().await? {
        if event["event"] == "done" {
            bail!("it was over before half of it was seen: take a larger --size");
        }
        if event["bytes"].as_u64().is_some_and(|bytes| bytes * 2 >= size) {
            return Ok(());
        }
    }
    bail!("the fetch ended early")
}

/// Reads events until the last.
pub(crate) async fn done(fetch: &mut Followed) -> anyhow::Result<Value> {
    while let Some(event) = fetch.next().await? {
        if event["event"] == "done" {
            return Ok(event);
        }
    }
    bail!("the fetch ended without the model")
}
