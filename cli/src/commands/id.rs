//! `hive id`: who the node is.

use crate::node::{self, Need};
use crate::session::Session;

/// Tell who the node is, and where it can be dialed
#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// Make a new identity for a home that lost its key; others will not know this node again
    #[arg(long)]
    reset: bool,
}

/// Tells the identity.
pub(crate) async fn id(args: &IdArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    if args.reset {
        let peer = node::reset_identity(&session.settings).await?;
        printer.more(format_args!("this node is {peer} from now on"));
    }
    let identity = session.with_node(Need::Disk, async |hive| Ok(hive.identity().await?)).await?;
    if printer.json() {
        return Ok(printer.object(&identity)?);
    }
    printer.data(&identity.peer)?;
    for address in &identity.addresses {
        printer.data(address)?;
    }
    Ok(())
}
