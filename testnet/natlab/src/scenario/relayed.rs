//! Two laptops that can never meet, and a relay that may carry models: allowed by its operator and
//! by who fetches, and across circuits that break.

use anyhow::Context as _;

use super::fetch::{done, half};
use crate::kind::Kind;
use crate::limits::FETCH;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::wait::within;

/// What one circuit may carry: a model takes several, of which each is cut when it is used up.
const CIRCUIT: &str = "24MB";

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let mut lab = setting.lab(Kind::Symmetric, Kind::Symmetric)?;
    let relay = setting.relay(&lab, "relay", &["--allow-bulk", CIRCUIT]).await?;
    let bootstrap = [stage::full_address(&lab, &relay, Transport::Tcp)?];
    let both = Transport::ALL;
    let a = setting.join(&lab, "laptop-a", &both, &bootstrap, &[]).await?;
    let b = setting.join(&lab, "laptop-b", &both, &bootstrap, &[]).await?;
    stage::dialable(&lab, &b).await?;
    let (file, id) = setting.share(&b).await?;
    let size = std::fs::metadata(&file)?.len();

    let refused = stage::fetch(&a, &id, &["--provider-timeout", "20s"]).await?;
    let says = refused.code != Some(0) && refused.stderr.contains("--relay-bulk");
    verdict.note(says, "the operator's leave is not the user's", refused.last_words());

    let before = lab.cable("relay")?.count()?.delivered_bytes();
    let mut fetch = a.user.follow(&["fetch", &id, "--relay-bulk", "2GB"])?;
    within("half of the model", FETCH, half(&mut fetch, size)).await?;
    // Every circuit breaks with the relay's process; its key, and so its address, stays.
    let relay = relay.restart().await.context("the relay's second start")?;
    let done = within("the rest", FETCH, done(&mut fetch)).await?;
    let code = fetch.code().await?;
    let copy = done["path"].as_str().context("the last event has no path")?;
    let same = code == Some(0) && stage::same_bytes(copy.as_ref(), &file)?;
    let seen = format!("{} bytes, {CIRCUIT} a circuit, the relay killed half way", done["bytes"]);
    verdict.note(same, "with both leaves it comes over the relay, byte for byte", seen);
    let over = lab.cable("relay")?.count()?.delivered_bytes() - before;
    // In and out again.
    verdict.note(over >= size * 2, "it did come over the relay", format!("{over} bytes"));
    drop(relay);
    say(&verdict.to_string());
    Ok(verdict.held())
}
