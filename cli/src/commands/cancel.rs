//! `hive cancel`: stop a fetch that another command began.

use hive_api::{ErrorKind, HiveError};

use crate::model::ModelRef;
use crate::node::{Handle, Need};
use crate::session::Session;

/// Stop the fetch of a model; what is verified stays
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// Id of the model, six characters or more of its beginning or end, or its name
    #[arg(value_name = "CID|NAME")]
    model: ModelRef,
}

/// Cancels.
pub(crate) async fn cancel(args: &CancelArgs, session: &Session) -> anyhow::Result<()> {
    let handle = Handle::open(&session.settings, Need::Disk).await?;
    let model = &args.model;
    let result = if handle.is_remote() {
        handle.hive().cancel(&model.to_string()).await
    } else {
        let message = format!("nothing fetches `{model}`: no node runs");
        Err(HiveError::new(ErrorKind::NotFound, message))
    };
    handle.close().await;
    result?;
    if session.printer.json() {
        session.printer.object(&serde_json::json!({ "model": model.to_string() }))?;
    } else {
        session.printer.talk(format_args!("stopped fetching `{model}`; what is verified stays"));
    }
    Ok(())
}
