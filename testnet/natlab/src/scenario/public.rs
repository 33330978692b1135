//! Everybody public and told so, nobody relays: what hive does before address translation comes into
//! it. When this fails, what the other scenarios say means nothing.

use super::fetch;
use crate::kind::Kind;
use crate::stage::{self, Setting, Transport};
use crate::table::Verdict;
use crate::view;

pub(crate) async fn run(setting: &Setting, say: &dyn Fn(&str)) -> anyhow::Result<bool> {
    let mut verdict = Verdict::default();
    for transport in Transport::ALL {
        let mut lab = setting.lab(Kind::None, Kind::None)?;
        let over = [transport];
        let own = |machine| -> anyhow::Result<String> {
            Ok(transport.at(lab.topology().address(machine)?))
        };
        let (meeting_point, of_a, of_b) = (own("relay")?, own("laptop-a")?, own("laptop-b")?);
        let more = ["--external", &meeting_point, "--dht", "always"];
        let host = setting.join(&lab, "relay", &over, &[], &more).await?;
        let bootstrap = [stage::full_address(&lab, &host, transport)?];
        let a = setting.join(&lab, "laptop-a", &over, &bootstrap, &["--external", &of_a]).await?;
        let b = setting.join(&lab, "laptop-b", &over, &bootstrap, &["--external", &of_b]).await?;
        let before = lab.cable("relay")?.count()?.delivered_bytes();
        fetch::cut_half_way(setting, &mut lab, [&a, &b], &[], &mut verdict).await?;
        let name = transport.name();
        let peer = view::peer(&a.user, b.peer()).await?;
        let over_it = peer.connected && peer.transports == [name];
        verdict.note(over_it, format!("{name}: over {name}"), format!("{:?}", peer.transports));
        let through = lab.cable("relay")?.count()?.delivered_bytes() - before;
        let little = through < setting.size / 4;
        verdict.note(little, format!("{name}: not through the third"), format!("{through} bytes"));
        for node in [a, b, host] {
            node.end().await?;
        }
    }
    say(&verdict.to_string());
    Ok(verdict.held())
}
