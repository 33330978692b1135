//! A chat at the terminal: lines in, answers out as they are made.
//!
//! Knows a `dyn Hive`, a printer and [`Lines`]; the node keeps the model loaded between turns.
//! Whatever a model is told is in the transcript, and nothing leaves it unless the user says so:
//! when the context is full, the chat says what can be done instead of forgetting by itself.

mod directive;
pub(crate) mod lines;
mod obey;
mod transcript;

use futures::StreamExt as _;
use hive_api::{
    Chat, ErrorKind, Finish, Generated, Hive, HiveError, ModelInfo, ModelKind, Prompt, Role,
    RunEvent, RunRequest, TemplateSource,
};

use crate::commands::run::prompt;
use crate::printer::Printer;
use crate::stop::{Diverted, Stop};
use crate::text::plain;
use directive::{Directive, Entry};
use lines::{Line, Lines};
use transcript::Transcript;

/// Begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";
/// Tokens of an answer of a base model, which does not end by itself.
const BASE_TOKENS: u32 = 256;
/// From this much of the context on, each answer says how much is left.
const NEARLY_FULL: f64 = 0.85;

/// What a chat begins with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The model, how to draw tokens, where to compute; its prompt is not used.
    pub(crate) request: RunRequest,
    /// Who the model is to be.
    pub(crate) system: Option<String>,
    /// A template in place of the model's own.
    pub(crate) template: Option<String>,
    /// Tell after each answer what it took.
    pub(crate) stats: bool,
}

struct Session<'a, L> {
    hive: &'a dyn Hive,
    printer: &'a Printer,
    /// Ctrl-C, which stops an answer and not the program.
    interrupts: Diverted<'a>,
    lines: &'a mut L,
    options: Options,
    info: ModelInfo,
    transcript: Transcript,
    last: Option<Generated>,
}

/// How an answer ended.
enum Ended {
    Done(Generated),
    Stopped,
}

/// Chats until the user ends it.
pub(crate) async fn chat(
    mut options: Options,
    hive: &dyn Hive,
    printer: &Printer,
    stop: &Stop,
    lines: &mut impl Lines,
) -> anyhow::Result<()> {
    let info = load(&options.request, hive, printer).await?;
    if info.kind == ModelKind::Embed {
        let message =
            format!("`{}` makes vectors of texts and does not chat", options.request.model);
        let hint = format!("`hive embed {} TEXT`", options.request.model);
        return Err(HiveError::new(ErrorKind::Usage, message).hint(hint).into());
    }
    if info.template.is_none() && options.template.is_none() {
        let message = format!("`{}` has no form for a chat", options.request.model);
        let hint =
            format!("`hive run {} \"Once upon a time\"` continues a text", options.request.model);
        return Err(HiveError::new(ErrorKind::Usage, message).hint(hint).into());
    }
    let own = matches!(info.template, Some(TemplateSource::File | TemplateSource::Sidecar));
    if !own && options.template.is_none() {
        options.request.max_tokens = options.request.max_tokens.or(Some(BASE_TOKENS));
    }
    let transcript = Transcript::new(options.system.as_deref());
    let mut session = Session {
        hive,
        printer,
        interrupts: stop.divert(),
        lines,
        options,
        info,
        transcript,
        last: None,
    };
    session.banner();
    session.run().await
}

/// Loads the model, so that mistakes show before the first message is typed.
async fn load(
    request: &RunRequest,
    hive: &dyn Hive,
    printer: &Printer,
) -> anyhow::Result<ModelInfo> {
    printer.talk(format_args!("loading `{}`", plain(&request.model)));
    let first = RunRequest { max_tokens: Some(1), ..RunRequest::new(&request.model, " ") };
    let first = RunRequest { device: request.device, keep_alive: request.keep_alive, ..first };
    let mut events = hive.run(first).await?;
    while let Some(event) = events.next().await {
        if let RunEvent::Loaded { info, .. } = event? {
            return Ok(info);
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say whether the model is loaded")
        .into())
}

impl<L: Lines> Session<'_, L> {
    fn banner(&self) {
        let info = &self.info;
        let name = info.name.as_deref().unwrap_or(&self.options.request.model);
        let (name, architecture) = (plain(name), plain(&info.architecture));
        let context = info.context_length;
        self.printer.talk(format_args!(
            "{name}: {architecture}, a context of {context} tokens. /help lists what can be done, \
             Ctrl-D ends it"
        ));
        if self.options.template.is_none() && info.template == Some(TemplateSource::Architecture) {
            self.printer.warning(format_args!(
                "this file has no chat template, so it most likely is a base model: it continues \
                 text and was never taught to answer. It gets the form of {architecture}; \
                 `hive run {} \"Once upon a time\"` uses it as what it is",
                plain(&self.options.request.model),
            ));
        }
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut interrupted = false;
        loop {
            let text = match self.read().await? {
                Line::End => return Ok(()),
                Line::Interrupted if interrupted => return Ok(()),
                Line::Interrupted => {
                    interrupted = true;
                    self.printer.talk("Ctrl-C again ends the chat; so do Ctrl-D and /quit");
                    continue;
                }
                Line::Text(text) => text,
            };
            interrupted = false;
            if text.trim().is_empty() {
                continue;
            }
            self.lines.remember(&text);
            match directive::parse(&text) {
                Entry::Message(text) => {
                    self.transcript.push(Role::User, message(&text));
                    self.answer(None).await?;
                }
                Entry::Directive(Directive::Quit) => return Ok(()),
                Entry::Directive(directive) => self.obey(directive).await?,
                Entry::Wrong(why) => self.printer.talk(why),
            }
        }
    }

    /// What is typed. The terminal itself turns Ctrl-C into a signal but while a key is waited for.
    async fn line(&mut self, prompt: &str) -> anyhow::Result<Line> {
        tokio::select! {
            line = self.lines.next(prompt) => Ok(line?),
            () = self.interrupts.interrupted() => Ok(Line::Interrupted),
        }
    }

    /// A line, or all lines between two fences.
    async fn read(&mut self) -> anyhow::Result<Line> {
        let mut text = match self.line(">>> ").await? {
            Line::Text(text) => text,
            other => return Ok(other),
        };
        if !text.trim_start().starts_with(FENCE) {
            return Ok(Line::Text(text));
        }
        while !is_closed(&text) {
            match self.line("... ").await? {
                Line::Text(more) => {
                    text.push('\n');
                    text.push_str(&more);
                }
                // What was begun is not sent.
                other => return Ok(other),
            }
        }
        Ok(Line::Text(text))
    }

    fn say(&self, what: impl std::fmt::Display) {
        self.printer.talk(what);
    }

    /// Has the last message answered, perhaps `again` after an answer that it has. What goes wrong is
    /// told and ends the turn, not the chat.
    async fn answer(&mut self, again: Option<String>) -> anyhow::Result<()> {
        let chat = Chat {
            messages: self.transcript.messages().to_vec(),
            template: self.options.template.clone(),
            ..Chat::default()
        };
        let request = RunRequest { prompt: Prompt::Chat(chat), ..self.options.request.clone() };
        let mut text = String::new();
        let ended = tokio::select! {
            biased;
            () = self.interrupts.interrupted() => Ok(Ended::Stopped),
            ended = stream(request, self.hive, self.printer, &mut text) => ended,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            self.printer.data("")?;
        }
        match ended {
            Ok(Ended::Done(generated)) => {
                self.transcript.push(Role::Assistant, text);
                self.finished(generated);
            }
            Ok(Ended::Stopped) => {
                self.say("stopped");
                self.keep_part(text, again);
            }
            Err(error) => {
                let error = error.downcast::<HiveError>()?;
                self.printer.error(&with_remedy(error));
                self.keep_part(text, again);
            }
        }
        Ok(())
    }

    /// What a broken answer leaves: its part, else the answer before it, else nothing, in which case
    /// the message is taken back so that roles go on taking turns.
    fn keep_part(&mut self, text: String, again: Option<String>) {
        if let Some(before) = again.filter(|_| text.is_empty()) {
            self.transcript.push(Role::Assistant, before);
            self.say("the answer before it stays");
        } else if text.is_empty() {
            self.transcript.take_back(Role::User);
            self.say("the message is taken back; the arrow key brings it up again");
        } else {
            self.transcript.push(Role::Assistant, text);
        }
    }

    fn finished(&mut self, generated: Generated) {
        if self.options.stats {
            self.say(prompt::told(&generated, self.options.request.sampling.seed));
        }
        let used = f64::from(generated.prompt_tokens) + f64::from(generated.generated_tokens);
        let context = f64::from(self.info.context_length.max(1));
        let limit = self.options.request.max_tokens;
        if generated.finish == Finish::Length {
            if limit.is_some_and(|limit| generated.generated_tokens >= limit) {
                let limit = limit.unwrap_or_default();
                self.say(format_args!(
                    "ended after {limit} tokens; /set max_tokens sets another limit"
                ));
            } else {
                self.printer.warning(FULL);
            }
        } else if used >= NEARLY_FULL * context {
            self.printer
                .warning(format_args!("{}; when it is full: {WAYS_OUT}", self.room(&generated)));
        }
        self.last = Some(generated);
    }

    fn room(&self, generated: &Generated) -> String {
        let used = generated.prompt_tokens + generated.generated_tokens;
        let context = self.info.context_length;
        format!("the chat takes {used} of {context} tokens")
    }
}

const WAYS_OUT: &str = "/forget drops the oldest exchange, /reset all of it; /save keeps it before";
const FULL: &str = "the context is full, so the answer ends here; nothing was dropped. /forget drops \
                    the oldest exchange, /reset all of it; /save keeps it before";

/// Says what to do about a prompt that does not fit any more.
fn with_remedy(error: HiveError) -> HiveError {
    let full = error.messages.iter().any(|message| message.contains("the model's context holds"));
    if full { error.hint(WAYS_OUT) } else { error }
}

/// Whether a message that began with a fence has ended with one.
fn is_closed(text: &str) -> bool {
    let text = text.trim();
    text.len() >= 2 * FENCE.len() && text.ends_with(FENCE)
}

/// What is said: the text without the fences around it.
fn message(text: &str) -> &str {
    let inside = text.trim().strip_prefix(FENCE).and_then(|rest| rest.strip_suffix(FENCE));
    inside.map_or(text, |inside| inside.trim_matches('\n'))
}

async fn stream(
    request: RunRequest,
    hive: &dyn Hive,
    printer: &Printer,
    text: &mut String,
) -> anyhow::Result<Ended> {
    let mut events = hive.run(request).await?;
    while let Some(event) = events.next().await {
        match event? {
            RunEvent::Text { text: more, .. } => {
                printer.text(&more)?;
                text.push_str(&more);
            }
            RunEvent::Queued { position } => {
                printer.more(format_args!("{position} others are before this one"));
            }
            RunEvent::Done(generated) => return Ok(Ended::Done(generated)),
            RunEvent::Fetching { .. } | RunEvent::Loaded { .. } | RunEvent::ToolCall(_) => {}
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the answer ended").into())
}

#[cfg(test)]
mod tests {
    use hive_api::{EngineError, Failure};

    use super::*;

    #[test]
    fn fences_hold_lines_together_and_are_not_said() {
        for (text, closed, said) in [
            ("\"\"\"", false, ""),
            ("\"\"\"one\ntwo\"\"\"", true, "one\ntwo"),
            ("\"\"\"\none\n\"\"\"", true, "one"),
            ("\"\"\"\"\"\"", true, ""),
        ] {
            assert_eq!(is_closed(text), closed, "{text}");
            if closed {
                assert_eq!(message(text), said);
            }
        }
        assert_eq!(message("a \"\"\" b"), "a \"\"\" b");
    }

    /// The words are the engine's; if they change, so must what is looked for.
    #[test]
    fn a_full_context_is_told_with_its_remedy() {
        let failure = Failure::from(&EngineError::PromptTooLong { tokens: 9, context: 8 });
        let error = with_remedy(HiveError::new(ErrorKind::Usage, failure.message));
        assert_eq!(error.hint.as_deref(), Some(WAYS_OUT));
        assert_eq!(with_remedy(HiveError::new(ErrorKind::Usage, "other")).hint, None);
    }
}
