//! Which model of a repository that has several: asked on a terminal, an error elsewhere.

use std::io::{self, IsTerminal as _};

use hive_api::{Choice, ErrorKind, HiveError, Listing};

use crate::failure::usage;
use crate::printer::Printer;
use crate::text::{Table, plain};
use crate::units;

/// Choices that a terminal is shown.
const SHOWN: usize = 60;
/// Answers that are no number before it is enough.
const TRIES: usize = 3;

/// Picks the file to add; `None` if there is nothing to choose.
pub(crate) async fn choose(
    source: &str,
    listing: &Listing,
    printer: &Printer,
) -> anyhow::Result<Option<String>> {
    let choices = &listing.choices;
    if choices.len() < 2 {
        return Ok(None);
    }
    let asks = printer.talks() && io::stdin().is_terminal() && io::stderr().is_terminal();
    if !asks {
        return Err(several(source, choices).into());
    }
    printer.talk(table(choices));
    for _ in 0..TRIES {
        printer.talk(format_args!("which one? [1-{}, empty for 1]", choices.len().min(SHOWN)));
        let Some(line) = read_line().await? else { break };
        if let Some(choice) = answered(&line, choices) {
            return Ok(Some(choice.file.clone()));
        }
        printer.talk(format_args!("`{}` is none of them", plain(line.trim())));
    }
    Err(several(source, choices).into())
}

/// A line from the terminal; `None` at its end. On a thread that nobody waits for, so that Ctrl-C
/// ends the command although the terminal says nothing.
async fn read_line() -> io::Result<Option<String>> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("answer".into()).spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).map(|n| (n > 0).then_some(line));
        // Whoever asked may have left.
        let _ = answer.send(read);
    })?;
    answered.await.unwrap_or(Ok(None))
}

/// A number, a file or a quantisation.
fn answered<'a>(line: &str, choices: &'a [Choice]) -> Option<&'a Choice> {
    let word = line.trim();
    if word.is_empty() {
        return choices.first();
    }
    if let Ok(number) = word.parse::<usize>() {
        return choices.get(number.checked_sub(1)?);
    }
    let mut named =
        choices.iter().filter(|one| one.file == word || one.label.eq_ignore_ascii_case(word));
    let first = named.next()?;
    named.next().is_none().then_some(first)
}

fn table(choices: &[Choice]) -> Table {
    let mut table = Table::new(["", "WHAT", "SIZE", "", "FILE"]);
    for (n, choice) in choices.iter().take(SHOWN).enumerate() {
        table.row([
            (n + 1).to_string(),
            choice.label.clone(),
            units::bytes(choice.size),
            remark(choice).to_owned(),
            choice.file.clone(),
        ]);
    }
    table
}

fn remark(choice: &Choice) -> &'static str {
    match (&choice.cached, choice.fits) {
        (Some(_), _) => "on this disk",
        (None, Some(false)) => "too large for this machine's memory",
        (None, _) => "",
    }
}

/// The list as an error, with the command that would do.
fn several(source: &str, choices: &[Choice]) -> HiveError {
    let mut error = usage(format!("`{source}` has several models"));
    error.kind = ErrorKind::Usage;
    error.messages.extend(choices.iter().take(SHOWN).map(|choice| {
        let remark = match remark(choice) {
            "" => String::new(),
            remark => format!(", {remark}"),
        };
        format!("{}: {}, {}{remark}", choice.file, choice.label, units::bytes(choice.size))
    }));
    let best = choices.iter().find(|choice| choice.fits != Some(false)).or(choices.first());
    match best {
        Some(best) => error.hint(format!("name one: `hive add {source}:{}`", best.file)),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(file: &str, label: &str) -> Choice {
        Choice {
            file: file.into(),
            label: label.into(),
            size: 1_000_000,
            files: vec![file.into()],
            cached: None,
            fits: None,
        }
    }

    #[test]
    fn an_answer_is_a_number_a_file_or_a_quantisation() {
        let choices =
            [choice("a.gguf", "Q4_0"), choice("b.gguf", "Q8_0"), choice("c.gguf", "Q8_0")];
        let file = |line: &str| answered(line, &choices).map(|one| one.file.as_str());
        assert_eq!(file("\n"), Some("a.gguf"));
        assert_eq!(file(" 2 \n"), Some("b.gguf"));
        assert_eq!(file("c.gguf"), Some("c.gguf"));
        assert_eq!(file("q4_0"), Some("a.gguf"));
        for none in ["0", "4", "-1", "Q8_0", "x"] {
            assert_eq!(file(none), None, "{none}");
        }
    }

    #[test]
    fn the_error_names_a_command_that_does_it() {
        let too_large = Choice { fits: Some(false), ..choice("a.gguf", "Q4_0") };
        let error = several("hf:o/r", &[too_large, choice("b.gguf", "Q8_0")]);
        assert_eq!(error.kind, ErrorKind::Usage);
        assert_eq!(error.hint.as_deref(), Some("name one: `hive add hf:o/r:b.gguf`"));
        assert!(error.messages[1].contains("too large"), "{error:?}");
    }
}
