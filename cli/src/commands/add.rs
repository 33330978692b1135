//! `hive add`: give files and directories an id, and keep them.

use std::path::PathBuf;

use anyhow::Context as _;
use futures::StreamExt as _;
use hive_api::{AddEvent, AddRequest, Added, Hive, Storage, Visibility};
use hive_protocol::Name;

use crate::failure::usage;
use crate::printer::Printer;
use crate::progress::Progress;
use crate::settings::keys;
use crate::units;

/// Add files or directories; prints the id of each
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// What to call it [default: its file name]
    #[arg(long)]
    name: Option<Name>,

    /// Who may have it [default: the setting `share`, which is `local`]
    #[arg(long, value_name = "WHO", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "public", value_parser = keys::visibility)]
    share: Option<Visibility>,

    /// Leave the file where it is and remember the place
    #[arg(long)]
    link: bool,

    /// Licence to tell others
    #[arg(long)]
    license: Option<String>,
}

impl AddArgs {
    /// One request for each path.
    pub(crate) fn resolve(self) -> anyhow::Result<Vec<AddRequest>> {
        if self.name.is_some() && self.paths.len() > 1 {
            return Err(usage("`--name` names one path, and there are several").into());
        }
        let request = |path: &PathBuf| {
            let absolute = std::path::absolute(path)
                .map_err(|error| usage(format!("`{}` is no path: {error}", path.display())))?;
            Ok(AddRequest {
                path: absolute,
                name: self.name.clone().map(String::from),
                visibility: self.share,
                link: self.link,
                license: self.license.clone(),
            })
        };
        self.paths.iter().map(request).collect()
    }
}

/// Adds each path; the ids go to stdout.
pub(crate) async fn add(
    requests: Vec<AddRequest>,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<()> {
    for request in requests {
        let added = add_one(request, hive, printer).await?;
        if printer.json() {
            printer.object(&added)?;
        } else {
            printer.talk(format_args!(
                "added `{}`: {}, {} chunks, {}",
                added.name,
                units::bytes(added.size),
                added.chunks,
                storage(added.storage)
            ));
            printer.data(&added.cid)?;
        }
    }
    Ok(())
}

async fn add_one(request: AddRequest, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<Added> {
    let mut events = hive.add(request).await?;
    let mut progress = Progress::new(printer, "hashing");
    while let Some(event) = events.next().await {
        match event? {
            AddEvent::Progress { bytes, total } => progress.show(bytes, total),
            AddEvent::Done(added) => return Ok(added),
        }
    }
    Err(hive_api::HiveError::new(hive_api::ErrorKind::Failed, "the node did not say how it ended"))
        .context("cannot add")
}

/// A storage in words.
pub(crate) fn storage(storage: Storage) -> &'static str {
    match storage {
        Storage::Reflink => "shares its blocks with the original",
        Storage::Hardlink => "is the original under a second name",
        Storage::Reference => "stays where it is",
        Storage::Copy => "copied",
        Storage::Fetched => "fetched",
        Storage::Present => "was here already",
    }
}
