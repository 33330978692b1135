//! `hive add`: give files and directories an id, and keep them; or bring a model from a hub, an
//! address or another program, and keep that.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::Context as _;
use futures::StreamExt as _;
use hive_api::{AddEvent, AddRequest, Added, Hive, Storage, Visibility};
use hive_protocol::Name;

use crate::failure::usage;
use crate::printer::Printer;
use crate::progress::Progress;
use crate::settings::keys;
use crate::text::plain;
use crate::units;

mod choose;
mod environment;
mod found;
mod pull;

/// Add files, directories, or a model from a hub; prints the id of each
///
/// A SOURCE is a path, `hf:OWNER/REPO[@REVISION][:FILE]`, `ollama:NAME[:TAG]` or an address. What
/// another program has on this disk is added in place, without a second copy.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Files, directories, `hf:…`, `ollama:…` or `https://…`
    #[arg(required_unless_present = "found", value_name = "SOURCE")]
    sources: Vec<OsString>,

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

    /// The SHA-256 that the file of an address must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,

    /// List the models that other programs keep on this disk, and add nothing
    #[arg(long, conflicts_with_all = ["sources", "name", "share", "link", "license", "sha256"])]
    found: bool,
}

/// What to do, every default settled.
#[derive(Debug)]
pub(crate) enum Adding {
    /// List what other programs have.
    Found,
    /// Add each of these.
    Each(Vec<Wanted>),
}

/// One thing to add.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// It is a file or a directory.
    Path(AddRequest),
    /// It comes from elsewhere.
    Pull(pull::Pull),
}

impl AddArgs {
    /// One request for each source.
    pub(crate) fn resolve(self) -> anyhow::Result<Adding> {
        if self.found {
            return Ok(Adding::Found);
        }
        if self.name.is_some() && self.sources.len() > 1 {
            return Err(usage("`--name` names one source, and there are several").into());
        }
        let wanted = self.sources.iter().map(|source| match elsewhere(source) {
            Some(source) => self.pull(source).map(Wanted::Pull),
            None => self.path(Path::new(source)).map(Wanted::Path),
        });
        wanted.collect::<anyhow::Result<_>>().map(Adding::Each)
    }

    fn path(&self, path: &Path) -> anyhow::Result<AddRequest> {
        if self.sha256.is_some() {
            return Err(usage("`--sha256` is for an address, and this is a path").into());
        }
        let absolute = std::path::absolute(path)
            .map_err(|error| usage(format!("`{}` is no path: {error}", path.display())))?;
        Ok(AddRequest {
            path: absolute,
            name: self.name.clone().map(String::from),
            visibility: self.share,
            link: self.link,
            license: self.license.clone(),
        })
    }

    fn pull(&self, source: &str) -> anyhow::Result<pull::Pull> {
        let environment = |name: &str| std::env::var_os(name);
        let mut request = environment::request(source, &environment)?;
        request.sha256.clone_from(&self.sha256);
        request.name = self.name.clone().map(String::from);
        request.visibility = self.share;
        request.link = self.link;
        request.license.clone_from(&self.license);
        Ok(pull::Pull { request })
    }
}

/// A source that is no path. A file of that name, as no program makes one, is `./hf:…`.
fn elsewhere(source: &OsStr) -> Option<&str> {
    let text = source.to_str()?;
    let known = ["hf:", "ollama:", "https://", "http://"];
    known.iter().any(|scheme| text.starts_with(scheme)).then_some(text)
}

/// Adds each source; the ids go to stdout.
pub(crate) async fn add(adding: Adding, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let wanted = match adding {
        Adding::Found => return found::found(hive, printer).await,
        Adding::Each(wanted) => wanted,
    };
    for wanted in wanted {
        let (added, told) = match wanted {
            Wanted::Path(request) => (add_one(request, hive, printer).await?, false),
            // Its last event is the same object.
            Wanted::Pull(pull) => (pull.run(hive, printer).await?, printer.json()),
        };
        if !printer.json() {
            for note in &added.notes {
                printer.warning(plain(note));
            }
        }
        if printer.json() && !told {
            printer.object(&added)?;
        } else if !told {
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
