//! `hive doctor`: what is wrong, and what to do about it, in order.

use hive_api::{Diagnosis, ErrorKind, HiveError, Level};

use crate::node;
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, plain};

/// Checks the node that runs, or one that is started for it.
pub(crate) async fn doctor(session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    printer.more("this takes some seconds");
    let diagnosis = session.stop.unless_wanted(node::diagnose(&session.settings)).await??;
    if printer.json() {
        printer.object(&diagnosis)?;
    } else {
        show(&diagnosis, printer)?;
    }
    let failed = diagnosis.checks.iter().filter(|check| check.level == Level::Fail).count();
    match failed {
        0 => Ok(()),
        1 => Err(HiveError::new(ErrorKind::Failed, "one check failed").into()),
        n => Err(HiveError::new(ErrorKind::Failed, format!("{n} checks failed")).into()),
    }
}

fn show(diagnosis: &Diagnosis, printer: &Printer) -> anyhow::Result<()> {
    let mut table = Table::new(["", "CHECK", "FOUND"]);
    for check in &diagnosis.checks {
        let level = match check.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        table.row([level.to_owned(), check.name.clone(), check.found.clone()]);
    }
    printer.data(table)?;
    if !diagnosis.running {
        printer.talk("no node runs on this home; this was one that was started for the checks");
    }
    if diagnosis.to_do.is_empty() {
        printer.data("nothing to do")?;
        return Ok(());
    }
    printer.data("to do, in this order:")?;
    for (n, remedy) in diagnosis.to_do.iter().enumerate() {
        printer.data(format_args!("{:>3}. {}", n + 1, plain(remedy)))?;
    }
    Ok(())
}
