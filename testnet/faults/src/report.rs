//! What the runs found: a line each, and a section of a document.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::scenario::{Context, Scenario};

#[cfg(test)]
mod tests;

const BEGIN: &str = "<!-- hive-faults: begin -->";
const END: &str = "<!-- hive-faults: end -->";

/// One run of a scenario or of its twin.
#[derive(Debug)]
pub(crate) struct Line {
    name: &'static str,
    claim: &'static str,
    kind: Kind,
    seed: u64,
    rounds: u32,
    took: Duration,
    injected: u64,
    outcome: Result<String, String>,
}

/// What was run, and what has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The scenario: it injects so many faults at least, and ends well.
    Run { least: u64 },
    /// Its twin: it injects a fault, and ends with an error that says one of these.
    Twin { caught: &'static [&'static str] },
}

impl Line {
    /// Runs a scenario, or its twin.
    pub(crate) fn of(scenario: &Scenario, context: &Context, twin: bool) -> Self {
        let context = context.anew();
        let start = Instant::now();
        let (run, kind) = if twin {
            (scenario.twin, Kind::Twin { caught: scenario.caught })
        } else {
            let least = (scenario.least)(context.rounds.into());
            (scenario.run, Kind::Run { least })
        };
        let outcome = run(&context);
        Self {
            name: scenario.name,
            claim: scenario.claim,
            kind,
            seed: context.seed,
            rounds: context.rounds,
            took: start.elapsed(),
            injected: context.injected(),
            outcome: outcome.map_err(|error| format!("{error:#}")),
        }
    }

    fn is_twin(&self) -> bool {
        matches!(self.kind, Kind::Twin { .. })
    }

    /// Whether this is what should have happened: a promise kept, or a twin caught at what is wrong
    /// with it.
    fn is_good(&self) -> bool {
        self.fault().is_none()
    }

    /// What is the matter with this line, if something is.
    fn fault(&self) -> Option<String> {
        let injected = self.injected;
        match (self.kind, &self.outcome) {
            (Kind::Run { .. }, Err(error)) => Some(error.clone()),
            (Kind::Run { least }, Ok(_)) => (injected < least.max(1)).then(|| {
                format!("{injected} faults were injected, at least {least} show something")
            }),
            (Kind::Twin { .. }, Ok(found)) => Some(format!("it passed: {found}")),
            (Kind::Twin { .. }, Err(error)) if injected == 0 => {
                Some(format!("no fault was injected before it ended: {error}"))
            }
            (Kind::Twin { caught }, Err(error)) => {
                let expected = caught.iter().any(|text| error.contains(text));
                (!expected).then(|| format!("it failed otherwise than it should: {error}"))
            }
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault();
        let verdict = match (self.is_twin(), &fault) {
            (false, None) => "ok",
            (false, Some(_)) => "BROKEN",
            (true, None) => "twin caught",
            (true, Some(_)) => "TWIN NOT CAUGHT",
        };
        let Self { name, seed, rounds, injected, .. } = self;
        let took = self.took.as_secs_f64();
        write!(
            f,
            "{name}: {verdict} seed={seed} rounds={rounds} {took:.1} s injected={injected} "
        )?;
        match (&fault, &self.outcome) {
            (Some(fault), _) => f.write_str(fault),
            (None, Ok(found) | Err(found)) => f.write_str(found),
        }
    }
}

/// All runs, and where they were.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) place: Place,
    pub(crate) lines: Vec<Line>,
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.lines.iter().all(Line::is_good)
    }

    /// Writes the rows of these runs into the section of a document, which is added at the end if it
    /// is not there. Rows of scenarios that were not run stay.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        std::fs::write(path, self.put_into(&text))
    }

    fn put_into(&self, text: &str) -> String {
        let old = text.split_once(BEGIN).and_then(|(before, rest)| {
            let (section, after) = rest.split_once(END)?;
            Some((before, section, after))
        });
        let (before, section, after) = match old {
            Some((before, section, after)) => (before.to_owned(), section, after),
            None if text.is_empty() => (String::new(), "", "\n"),
            None => (format!("{}\n\n", text.trim_end()), "", "\n"),
        };
        let mut rows = self.rows();
        // The order is that of the scenarios; what is no scenario any more goes.
        let names: Vec<&str> = crate::scenarios().map(|scenario| scenario.name).collect();
        let kept = section.lines().filter_map(|line| Some((name_of(line)?, line.to_owned())));
        for (name, row) in kept {
            if names.contains(&name) && rows.iter().all(|(new, _)| *new != name) {
                rows.push((name, row));
            }
        }
        rows.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
        let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
        format!("{before}{BEGIN}\n{HEAD}\n{}\n{END}{after}", rows.join("\n"))
    }

    fn rows(&self) -> Vec<(&str, String)> {
        let runs = self.lines.iter().filter(|line| !line.is_twin());
        runs.map(|line| (line.name, self.row(line))).collect()
    }

    fn row(&self, line: &Line) -> String {
        let twin = self.lines.iter().find(|twin| twin.is_twin() && twin.name == line.name);
        let twin = match twin {
            Some(twin) if twin.is_good() => "caught",
            Some(_) => "**not caught**",
            None => "-",
        };
        let found = match (line.fault(), &line.outcome) {
            (Some(fault), _) => format!("**broken**: {fault}"),
            (None, Ok(found) | Err(found)) => found.clone(),
        };
        // What would end a cell, or the row.
        let found = found.replace('|', "/").replace('\n', " ");
        let Line { name, claim, seed, rounds, took, injected, .. } = line;
        let (took, Place { commit, machine }) = (took.as_secs_f64(), &self.place);
        format!(
            "| `{name}` | {claim} | {seed} | {rounds} | {injected} | {found} | {twin} | {took:.0} s \
             | {commit} | {machine} |"
        )
    }
}

const HEAD: &str = "\
| scenario | promise | seed | rounds | faults | what was found | twin | took | commit | machine |
|---|---|---|---|---|---|---|---|---|---|";

/// The scenario of a row.
fn name_of(row: &str) -> Option<&str> {
    row.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)
}
