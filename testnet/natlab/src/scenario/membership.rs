//! A private network: who has a certificate is in, everybody else learns nothing, and the log of who
//! refused says why.
//!
//! A forged certificate and one of another node cannot be had from the command line; they are
//! refused in hive-swarm's tests.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use crate::kind::Kind;
use crate::lab::Lab;
use crate::limits::{COMMAND, REACHABLE};
use crate::node::{Node, User};
use crate::pcap::Capture;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;
use crate::wait::until;

/// How long an invite, or a membership, lives that is to have expired.
const SHORT: std::time::Duration = std::time::Duration::from_secs(2);

/// What the log says of every connection that is refused.
const REFUSED: &str = "no proof of membership";

/// What nobody outside may read: the admin's name, a model's name.
const NAME: &str = "queen-of-this-lab";
const MODEL: &str = "a-model-nobody-knows";

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    let mut lab = setting.lab(Kind::Cone, Kind::Cone)?;
    let ip = lab.topology().address("relay")?;
    let owner = User::new(&lab, &setting.hive, "relay")?;
    let created = owner.json(&["network", "create", "lab"]).await?;
    let network = text(&created, "id")?;
    let mut args = vec!["--network", &network, "--name", NAME, "--dht", "always"];
    let external = Transport::ALL.map(|transport| transport.at(ip));
    args.extend(external.iter().flat_map(|address| ["--external", address]));
    let admin = setting.join(&lab, "relay", &Transport::ALL, &[], &args[..]).await?;
    let (file, id) = setting.share_small(&admin, 1 << 20).await?;
    let renamed = admin.user.home().join(MODEL);
    std::fs::copy(file, &renamed)?;
    admin.user.json(&["add", "--share", renamed.to_str().context("a path that is text")?]).await?;

    let code = invite(&admin, &["--uses", "1"]).await?;
    let member = setting.join(&lab, "laptop-a", &Transport::ALL, &[], &[&code]).await?;
    let fetched = stage::fetch(&member, &id, &[]).await?;
    let seen = fetched.last_words().to_owned();
    verdict.note(fetched.code == Some(0), "who redeems an invite is in, and fetches", seen);

    let capture = lab.dir().join("stranger.pcap");
    lab.cable("stranger")?.capture(&capture)?;
    let address = stage::full_address(&lab, &admin, Transport::Tcp)?;
    let knows_where = ["--bootstrap", address.as_str()];
    let door = Door { setting, lab: &lab, admin: &admin };
    let somebody = door.somebody()?;
    door.refuses(&somebody, "no network at all", &knows_where, REFUSED, &mut verdict).await?;
    let namesake = door.somebody()?;
    namesake.json(&["network", "create", "lab"]).await?;
    let kind = "\"kind\":\"stranger\"";
    door.refuses(&namesake, "another network", &knows_where, kind, &mut verdict).await?;
    let kind = "\"kind\":\"invite_used_up\"";
    door.refuses(&door.somebody()?, "a used-up invite", &[&code], kind, &mut verdict).await?;
    let withdrawn = admin.user.json(&["invite"]).await?;
    admin.user.json(&["invite", "revoke", &text(&withdrawn, "invite")?]).await?;
    let withdrawn = text(&withdrawn, "code")?;
    let kind = "\"kind\":\"unknown_invite\"";
    door.refuses(&door.somebody()?, "a withdrawn invite", &[&withdrawn], kind, &mut verdict)
        .await?;
    let short = invite(&admin, &["--member-for", &format!("{}s", SHORT.as_secs())]).await?;
    let kind = "\"kind\":\"expired\"";
    door.refuses(&door.somebody()?, "an expired certificate", &[&short], kind, &mut verdict)
        .await?;
    // That an invite is over stands in its code: nobody has to be asked.
    let short = invite(&admin, &["--expires", &format!("{}s", SHORT.as_secs())]).await?;
    let made = Instant::now();
    until("the invite to be over", SHORT * 4, async || {
        let age = made.elapsed();
        if age > SHORT * 2 { Ok(()) } else { Err(format!("it is {age:?} old")) }
    })
    .await?;
    let ended = door.somebody()?.run_within(&["join", &short], COMMAND).await?;
    let over = ended.code != Some(0) && ended.stderr.contains("expired");
    verdict.note(over, "an invite that has expired is not even tried", ended.last_words());
    let told = lab.cable("stranger")?.end_capture()?;
    let frames = told.up.came + told.down.came;
    nothing_in(&capture, frames, &id, ip, &mut verdict)?;

    admin.user.json(&["network", "revoke", member.peer()]).await?;
    let gone = until("the revoked member to be gone", REACHABLE, async || {
        match view::peer(&admin.user, member.peer()).await {
            Ok(peer) if !peer.connected => Ok(()),
            Ok(_) => Err("still connected".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    });
    let gone = gone.await;
    verdict.note(gone.is_ok(), "a revoked member is let go", "no connection");
    let logged = until("the reason", REACHABLE, async || {
        if admin.user.logged("\"kind\":\"revoked\"") { Ok(()) } else { Err(admin.user.said()) }
    });
    let logged = logged.await;
    verdict.note(
        logged.is_ok(),
        "and refused when it comes again",
        "`\"kind\":\"revoked\"` in the log",
    );
    say(&verdict.to_string());
    Ok(verdict.held())
}

fn text(value: &serde_json::Value, key: &str) -> anyhow::Result<String> {
    let text = value[key].as_str().with_context(|| format!("no `{key}` in {value}"))?;
    Ok(text.to_owned())
}

async fn invite(admin: &Node, more: &[&str]) -> anyhow::Result<String> {
    let mut args = vec!["invite"];
    args.extend(more);
    text(&admin.user.json(&args).await?, "code")
}

/// The admin's node, and those who knock.
struct Door<'a> {
    setting: &'a Setting,
    lab: &'a Lab,
    admin: &'a Node,
}

impl Door<'_> {
    /// Somebody new at the stranger's machine.
    fn somebody(&self) -> anyhow::Result<User> {
        let user = User::new(self.lab, &self.setting.hive, "stranger")?;
        let home = user.home().join("hive");
        if home.exists() {
            std::fs::remove_dir_all(&home)?;
        }
        Ok(user)
    }

    /// Tries to join, and looks for the reason in the admin's log.
    async fn refuses(
        &self,
        user: &User,
        who: &str,
        args: &[&str],
        reason: &str,
        verdict: &mut Verdict,
    ) -> anyhow::Result<()> {
        let before = self.admin.user.log_text().matches(reason).count();
        let mut all = vec!["join"];
        all.extend(args);
        // A join that goes on trying is as good as one that gives up: neither is in.
        let ended = user.run_within(&all, COMMAND).await;
        let peers = view::peers(&self.admin.user).await?;
        let n_connected = peers.iter().filter(|peer| peer.connected).count();
        let logged = self.admin.user.log_text().matches(reason).count() - before;
        let words = match &ended {
            Ok(ended) => ended.last_words().to_owned(),
            Err(_) => "it went on trying".to_owned(),
        };
        let seen =
            format!("`{reason}` {logged} times in the log; {n_connected} connected; {words}");
        // The member is.
        verdict.note(logged > 0 && n_connected == 1, format!("refused: {who}"), seen);
        Ok(())
    }
}

/// Looks through what crossed the stranger's line.
fn nothing_in(
    path: &Path,
    frames: u64,
    id: &str,
    ip: Ipv4Addr,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let capture = Capture::read(path)?;
    // What is in the open in any handshake of libp2p, so that a search that finds nothing means it.
    let known = capture.count(b"/multistream/1.0.0");
    let whole = known > 0 && capture.n_frames() as u64 >= frames.min(1);
    let seen = format!("{} frames, `/multistream/1.0.0` in {known}", capture.n_frames());
    verdict.note(whole, "the capture is one", seen);
    let mut binary = vec![4];
    binary.extend(ip.octets());
    binary.extend([6, 0x11, 0x83]);
    let shown = format!("/ip4/{ip}/tcp/4483");
    let needles: [(&str, &[u8]); 5] = [
        ("the admin's name", NAME.as_bytes()),
        ("a model's name", MODEL.as_bytes()),
        ("a model's id", id.as_bytes()),
        ("an address as text", shown.as_bytes()),
        ("an address in binary", &binary),
    ];
    for (what, needle) in needles {
        let n = capture.count(needle);
        verdict.note(n == 0, format!("{what} is not in it"), format!("{n} times"));
    }
    Ok(())
}
