//! `hive status`: how the node is.

use hive_api::Hive;

use crate::printer::Printer;
use crate::text::plain;
use crate::units;

/// Tells how the node is.
pub(crate) async fn status(hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let status = hive.status().await?;
    if printer.json() {
        return Ok(printer.object(&status)?);
    }
    let fact = |name: &str, value: String| printer.data(format_args!("{name:<11}{value}"));
    fact("peer", status.peer.clone())?;
    if let Some(name) = &status.name {
        fact("name", plain(name))?;
    }
    if status.addresses.is_empty() {
        printer.talk(
            "nobody can dial this node: none runs on this home (`hive join` starts one), or it only \
             dials (`listen` is `none`)",
        );
    }
    for address in &status.addresses {
        fact("address", address.clone())?;
    }
    fact("network", status.network.clone())?;
    fact("home", status.home.display().to_string())?;
    fact("version", status.version.clone())?;
    fact("up for", units::seconds(status.uptime))?;
    fact("connected", format!("{} peers", status.connected))?;
    fact("models", status.models.to_string())?;
    fact("uploaded", units::bytes(status.uploaded))?;
    let used = units::bytes(status.disk_used);
    fact("disk", format!("{used} used, {} free for models", units::bytes(status.disk_free)))?;
    for fetch in &status.fetches {
        let percent = units::percent(fetch.bytes, fetch.size);
        let rate = units::rate(fetch.rate);
        let name = plain(&fetch.name);
        fact("fetching", format!("{name}, {percent} %, {rate} from {} peers", fetch.peers))?;
    }
    Ok(())
}
