//! One prompt and what becomes of it: a turn of a chat, or text that is continued.

use std::time::Duration;

use futures::StreamExt as _;
use hive_api::{
    Chat, ErrorKind, FetchEvent, FetchRequest, Finish, Generated, Hive, HiveError, Message,
    ModelInfo, ModelKind, Prompt, Role, RunEvent, RunRequest, TemplateSource,
};

use crate::printer::Printer;
use crate::progress::FetchProgress;
use crate::units;

/// Tokens of continued text, which rarely ends by itself.
const TEXT_TOKENS: u32 = 256;
/// How often the second request for a model is sent at most, until there is a place for it.
const TRIES: u32 = 40;
/// How long to wait in between: a node that hears that a reader has left takes some milliseconds.
const PAUSE: Duration = Duration::from_millis(50);

/// How a prompt is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A turn of a chat.
    Chat,
    /// Text to go on with.
    Raw,
    /// A turn if the model has a template of its own.
    ByModel,
}

/// Whether an answer was complete before its model was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Some of the model is still on its way.
    BeforeTheModel,
    /// The model is here.
    AfterTheModel,
}

/// A prompt in either form.
pub(crate) struct Prompts {
    pub(crate) text: String,
    pub(crate) system: Option<String>,
    pub(crate) template: Option<String>,
}

impl Prompts {
    fn as_form(&self, form: Form) -> Prompt {
        if form != Form::Chat {
            return Prompt::Text(self.text.clone());
        }
        let system = self.system.iter().map(|text| Message::new(Role::System, text));
        let messages = system.chain([Message::new(Role::User, &self.text)]).collect();
        Prompt::Chat(Chat { messages, template: self.template.clone(), ..Chat::default() })
    }

    /// What a loaded model is given, and how many tokens it may make of it.
    fn settle(&self, form: Form, info: &ModelInfo, limit: Option<u32>) -> (Form, Option<u32>) {
        let own = matches!(info.template, Some(TemplateSource::File | TemplateSource::Sidecar));
        let form = match form {
            Form::ByModel if own => Form::Chat,
            Form::ByModel => Form::Raw,
            form => form,
        };
        let ends_by_itself = form == Form::Chat && (own || self.template.is_some());
        (form, limit.or((!ends_by_itself).then_some(TEXT_TOKENS)))
    }
}

/// Generates; the text goes to stdout as it is made, or each event as a line of JSON.
///
/// What a model is shows when it is loaded. A prompt that has the other form then is sent again,
/// which costs a look at the first one and nothing else: the model stays loaded.
pub(crate) async fn generate(
    request: RunRequest,
    prompts: &Prompts,
    wanted: Form,
    hive: &dyn Hive,
    printer: &Printer,
    stats: bool,
) -> anyhow::Result<Ended> {
    let seed = request.sampling.seed;
    let model = request.model.clone();
    let mut form = if wanted == Form::Chat { Form::Chat } else { Form::Raw };
    let mut limit = request.max_tokens.or((form == Form::Raw).then_some(TEXT_TOKENS));
    let send = async |form: Form, max_tokens: Option<u32>| {
        let prompt = prompts.as_form(form);
        hive.run(RunRequest { prompt, max_tokens, ..request.clone() }).await
    };
    let mut events = send(form, limit).await?;
    let (mut loaded, mut ends_line) = (false, true);
    let (mut progress, mut arriving) = (FetchProgress::new(printer), false);
    while let Some(event) = events.next().await {
        let event = event?;
        if let RunEvent::Loaded { info, seconds, .. } = &event {
            if loaded {
                continue;
            }
            loaded = true;
            if stats {
                printer.talk(format_args!("loaded in {}", units::seconds(*seconds)));
            }
            if info.kind == ModelKind::Embed {
                let message = format!("`{}` makes vectors of texts", request.model);
                let hint = format!("`hive embed {} TEXT`", request.model);
                return Err(HiveError::new(ErrorKind::Usage, message).hint(hint).into());
            }
            let settled = prompts.settle(wanted, info, request.max_tokens);
            if settled != (form, limit) {
                (form, limit) = settled;
                // A fetch that nobody follows ends, and a node that works at one request at a time
                // has no place for a second: so somebody else follows while the first one goes.
                let fetch = FetchRequest { model: model.clone(), ..FetchRequest::default() };
                let follower = if arriving { Some(hive.fetch(fetch).await?) } else { None };
                drop(events);
                events = patiently(async || send(form, limit).await).await?;
                drop(follower);
            }
        }
        if printer.json() {
            printer.object(&event)?;
        }
        match event {
            RunEvent::Fetching { progress: event } => {
                arriving = !matches!(event, FetchEvent::Done { .. });
                // Text and bars do not go into one another.
                if ends_line {
                    progress.show(&event);
                }
            }
            RunEvent::Text { text, .. } if !printer.json() => {
                progress.clear();
                printer.text(&text)?;
                ends_line = text.ends_with('\n');
            }
            RunEvent::Queued { position } if !printer.json() => {
                printer.more(format_args!("{position} others are before this one"));
            }
            RunEvent::Done(generated) => {
                if !printer.json() && !ends_line {
                    printer.data("")?;
                }
                if stats {
                    printer.talk(told(&generated, seed));
                }
                return Ok(if arriving { Ended::BeforeTheModel } else { Ended::AfterTheModel });
            }
            _ => {}
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the generation ended").into())
}

/// Sends a request for which there is no place before the node has let go of the one that just left.
async fn patiently<T>(send: impl AsyncFn() -> hive_api::Result<T>) -> hive_api::Result<T> {
    for _ in 1..TRIES {
        match send().await {
            Err(error) if error.kind == ErrorKind::Busy => tokio::time::sleep(PAUSE).await,
            sent => return sent,
        }
    }
    send().await
}

/// What a generation took, for a person.
pub(crate) fn told(generated: &Generated, seed: u64) -> String {
    let rate = |tokens: u32, seconds: f64| f64::from(tokens) / seconds.max(1e-9);
    let Generated { prompt_tokens, cached_tokens, generated_tokens, .. } = *generated;
    let Generated { prompt_seconds, generate_seconds, .. } = *generated;
    let read = prompt_tokens.saturating_sub(cached_tokens);
    let remembered = match cached_tokens {
        0 => String::new(),
        _ => format!(" ({cached_tokens} remembered)"),
    };
    let ended = match generated.finish {
        Finish::Stop | Finish::ToolCalls => "the model ended it",
        Finish::Length => "the limit ended it",
        Finish::Cancelled => "it was stopped",
    };
    format!(
        "prompt: {prompt_tokens} tokens{remembered}, {:.1} a second; text: {generated_tokens} tokens, {:.1} a \
         second; {ended}; seed {seed}",
        rate(read, prompt_seconds),
        rate(generated_tokens, generate_seconds),
    )
}
