//! Brings a model from a hub, an address or another program.

use futures::StreamExt as _;
use hive_api::{Added, ErrorKind, Hive, HiveError, PullEvent, PullRequest};

use super::choose;
use crate::printer::Printer;
use crate::progress::Progress;
use crate::text::plain;
use crate::units;

/// A model to bring.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) request: PullRequest,
}

impl Pull {
    /// Chooses, where there is a choice, then pulls and tells how it goes.
    pub(crate) async fn run(self, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<Added> {
        let mut request = self.request;
        let names_file = request.source.strip_prefix("hf:").is_none_or(|rest| rest.contains(':'));
        if !names_file {
            let listing = hive.look(request.clone()).await?;
            if let Some(file) = choose::choose(&request.source, &listing, printer).await? {
                // What was chosen from is what is pulled, whatever happens to the branch meanwhile.
                request.source = format!("{}:{file}", listing.source);
            }
        }
        let mut events = hive.pull(request).await?;
        let mut shown = Shown { printer, downloading: None, adding: None };
        while let Some(event) = events.next().await {
            let event = event?;
            shown.show(&event)?;
            if let PullEvent::Done(added) = event {
                return Ok(added);
            }
        }
        let told = "the node did not say how it ended";
        Err(HiveError::new(ErrorKind::Failed, told).into())
    }
}

struct Shown<'a> {
    printer: &'a Printer,
    downloading: Option<Progress<'a>>,
    adding: Option<Progress<'a>>,
}

impl Shown<'_> {
    fn show(&mut self, event: &PullEvent) -> anyhow::Result<()> {
        let printer = self.printer;
        if printer.json() {
            return Ok(printer.object(event)?);
        }
        match event {
            PullEvent::Found { source, files, size, present, notes } => {
                let here = match present {
                    0 => String::new(),
                    all if all == size => ", all of it on this disk".to_owned(),
                    some => format!(", {} of it on this disk", units::bytes(*some)),
                };
                let files = if *files == 1 { String::new() } else { format!("{files} files, ") };
                let (source, size) = (plain(source), units::bytes(*size));
                printer.talk(format_args!("adding `{source}`: {files}{size}{here}"));
                for note in notes {
                    printer.talk(format_args!("  {}", plain(note)));
                }
            }
            PullEvent::Progress { bytes, size, .. } => {
                let bar =
                    self.downloading.get_or_insert_with(|| Progress::new(printer, "fetching"));
                bar.show(*bytes, *size);
            }
            PullEvent::Retry { reason, seconds } => {
                let pause = units::seconds(*seconds);
                printer.warning(format_args!("{}; again in {pause}", plain(reason)));
            }
            PullEvent::Adding { bytes, total } => {
                self.downloading = None;
                let bar = self.adding.get_or_insert_with(|| Progress::new(printer, "hashing"));
                bar.show(*bytes, *total);
            }
            PullEvent::Done(_) => (self.downloading, self.adding) = (None, None),
        }
        Ok(())
    }
}
