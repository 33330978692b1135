//! `hive run`: chat with a model, or have it answer or continue a prompt. A model that is not here is
//! fetched: before a chat begins, and while a prompt is answered.

pub(crate) mod prompt;
pub(crate) mod sampling;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hive_api::{
    Device, ErrorKind, FetchRequest, Format, Hive, HiveError, ModelDetails, RunRequest,
};

use crate::args::NetArgs;
use crate::chat;
use crate::chat::lines::Terminal;
use crate::commands::fetch;
use crate::failure::usage;
use crate::model::ModelRef;
use crate::node::Need;
use crate::session::{Session, resumable};
use crate::units;
use prompt::{Ended, Form, Prompts};
use sampling::SamplingArgs;

/// The file in the home that keeps what was typed in chats.
const HISTORY: &str = "chat_history";
/// Bytes read as a prompt from stdin at most; no context holds more.
const PROMPT_LEN: u64 = 4 << 20;

/// Bytes of a template or a schema at most.
const FILE_LEN: u64 = 1 << 20;

/// Chat with a model, or have it answer or continue a prompt; fetches the model if it is not here
///
/// A model that is being fetched answers a prompt as soon as the bytes are here that this takes.
///
/// Without a prompt, on a terminal, it is a chat. With one, a model that has a chat template of its
/// own answers, and a base model continues the text; `--chat` and `--raw` decide otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Id or name of a model, or a file or directory
    model: String,

    /// What to answer or continue [default: a chat on a terminal, else what stdin says]
    prompt: Option<String>,

    /// Continue the prompt as it stands, without a chat template
    #[arg(long, conflicts_with_all = ["chat", "system", "template"])]
    raw: bool,

    /// Answer the prompt, also with a base model
    #[arg(long)]
    chat: bool,

    /// Who the model is to be
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Chat template (Jinja) in place of the model's own
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,

    #[command(flatten)]
    sampling: SamplingArgs,

    /// Tokens to generate at most [default: 256 for continued text, else until the model ends it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,

    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Hold the text to JSON, or to a JSON schema in a file
    #[arg(long, value_name = "json|SCHEMA.json")]
    format: Option<String>,

    /// With --json: how likely each token was, and so many others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20))]
    logprobs: Option<u32>,

    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    device: DeviceArg,

    /// How long a node keeps the model loaded afterwards: `10m`, `0`, `forever`
    #[arg(long, value_name = "TIME", value_parser = keep_alive)]
    keep_alive: Option<f64>,

    /// Tell how many tokens a second
    #[arg(long)]
    stats: bool,

    #[command(flatten)]
    pub(crate) net: NetArgs,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum DeviceArg {
    #[default]
    Cpu,
    Cuda,
    Metal,
}

/// Seconds that a model stays loaded; negative for ever.
pub(crate) fn keep_alive(text: &str) -> Result<f64, String> {
    if text == "forever" {
        return Ok(-1.0);
    }
    let time = units::parse_duration(text);
    time.map(|time| time.as_secs_f64()).map_err(|why| format!("{why}, or `forever`"))
}

/// Where the model is to be found.
#[derive(Debug, Clone)]
enum Source {
    /// A file, whatever it is called.
    File(String),
    /// A model of the store or the network; a file of that name is taken if there is no such model.
    Model(ModelRef),
}

impl RunArgs {
    fn source(&self) -> anyhow::Result<Source> {
        if is_path(&self.model) {
            return Ok(Source::File(absolute(&self.model)?));
        }
        let parsed = self.model.parse();
        Ok(Source::Model(parsed.map_err(|why: String| usage(format!("`{}`: {why}", self.model)))?))
    }

    fn form(&self) -> Form {
        if self.raw {
            Form::Raw
        } else if self.chat || self.system.is_some() || self.template.is_some() {
            Form::Chat
        } else {
            Form::ByModel
        }
    }

    /// All but the prompt.
    fn request(&self, json: bool) -> anyhow::Result<RunRequest> {
        if self.logprobs.is_some() && !json {
            return Err(usage("`--logprobs` has no place in a text").hint("add `--json`").into());
        }
        Ok(RunRequest {
            max_tokens: self.max_tokens,
            sampling: self.sampling.resolve(),
            stop: self.stop.iter().filter(|text| !text.is_empty()).cloned().collect(),
            logprobs: self.logprobs,
            format: self.format.as_deref().map(format).transpose()?,
            device: match self.device {
                DeviceArg::Cpu => Device::Cpu,
                DeviceArg::Cuda => Device::Cuda,
                DeviceArg::Metal => Device::Metal,
            },
            keep_alive: self.keep_alive,
            ..RunRequest::new(self.model.clone(), "")
        })
    }
}

fn format(text: &str) -> anyhow::Result<Format> {
    if text == "json" {
        return Ok(Format::JsonObject);
    }
    let schema = serde_json::from_str(&read_text(Path::new(text))?).map_err(|error| {
        usage(format!("`{text}` is no JSON schema: {error}"))
            .hint("`--format json` holds the text to any JSON object")
    })?;
    Ok(Format::JsonSchema(schema))
}

/// A file of the user's that is short.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let read = || read_all(File::open(path)?, FILE_LEN);
    read().map_err(|error| {
        let message = format!("cannot read `{}`", path.display());
        HiveError::caused(ErrorKind::Usage, message, &error).into()
    })
}

/// What stdin says, all of it. A text that is cut would be answered as if it were whole.
pub(crate) fn text_of_stdin(most: u64) -> anyhow::Result<String> {
    read_all(io::stdin().lock(), most)
        .map_err(|error| usage(format!("cannot take what stdin says: {error}")).into())
}

fn read_all(from: impl io::Read, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let n = from.take(most + 1).read_to_string(&mut text)?;
    if n as u64 > most {
        return Err(io::Error::other(format!("it is over {} MiB long", most >> 20)));
    }
    Ok(text)
}

fn prompt_of_stdin() -> anyhow::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(usage("there is no prompt")
            .hint("`hive run MODEL \"Once upon a time\"`, or pipe it in; a chat needs a terminal on stdout and no `--json` or `--raw`")
            .into());
    }
    text_of_stdin(PROMPT_LEN)
}

/// Whether a text can only be a path: names start with a letter or digit and have no backslash.
fn is_path(text: &str) -> bool {
    text.starts_with(['.', '/']) || text.contains('\\') || Path::new(text).is_absolute()
}

/// What a node, which may have been started elsewhere, is to be told of a model or a path. What is
/// neither here is left to the node, which says so.
pub(crate) async fn on_the_node(model: &str, hive: &dyn Hive) -> anyhow::Result<String> {
    if is_path(model) {
        return absolute(model);
    }
    match hive.show(model).await {
        Ok(details) if is_here(&details) => Ok(model.to_owned()),
        Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
        _ if Path::new(model).exists() => absolute(model),
        _ => Ok(model.to_owned()),
    }
}

/// Whether a model is in the store, at least in part, and not only offered by others.
fn is_here(details: &ModelDetails) -> bool {
    !details.summary.path.as_os_str().is_empty()
}

fn absolute(path: &str) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path)
        .map_err(|error| usage(format!("`{path}` is no path: {error}")))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|_| {
        usage(format!("the directory of `{path}` has a name that is not UTF-8")).into()
    })
}

/// What is to be done with a model once it is here.
enum Task {
    Chat(RunRequest),
    Prompt(RunRequest, String),
}

/// Runs a model of the store or a file; or fetches it and then does.
pub(crate) async fn run(args: RunArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let source = args.source()?;
    let template = args.template.as_deref().map(read_text).transpose()?;
    let request = args.request(printer.json())?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let task = match &args.prompt {
        Some(prompt) => Task::Prompt(request, prompt.clone()),
        None if terminal && !args.raw && !printer.json() => Task::Chat(request),
        None => Task::Prompt(request, prompt_of_stdin()?),
    };
    let work = Work { args: &args, template, task, session };
    let local = session
        .with_node(Need::Disk, async |hive| {
            let Some(model) = find(&source, hive).await? else { return Ok(false) };
            work.with(model, hive).await?;
            Ok(true)
        })
        .await?;
    if local {
        return Ok(());
    }
    if let Task::Prompt(..) = work.task {
        let answering = async |hive: &dyn Hive| work.while_it_arrives(hive).await;
        return session.with_node(Need::Network, answering).await.map_err(resumable);
    }
    let fetch = work.fetch();
    let fetching =
        async |hive: &dyn Hive| fetch::follow(fetch.clone(), hive, printer, printer.json()).await;
    let fetched = session.with_lasting_node(Need::Network, fetching).await?;
    let generating = async |hive: &dyn Hive| work.with(fetched.cid, hive).await;
    session.with_node(Need::Disk, generating).await
}

/// Everything but the model and the node.
struct Work<'a> {
    args: &'a RunArgs,
    template: Option<String>,
    task: Task,
    session: &'a Session,
}

impl Work<'_> {
    async fn with(&self, model: String, hive: &dyn Hive) -> anyhow::Result<()> {
        let printer = &self.session.printer;
        let stats = self.args.stats || printer.verbose() > 0;
        match &self.task {
            Task::Chat(request) => {
                let request = RunRequest { model, ..request.clone() };
                let (system, template) = (self.args.system.clone(), self.template.clone());
                let options = chat::Options { request, system, template, stats };
                let settings = &self.session.settings;
                let history = settings.chat_history.then(|| settings.home.join(HISTORY));
                let terminal = Terminal::open(history);
                let mut lines = terminal.context("cannot use the terminal for a chat")?;
                chat::chat(options, hive, printer, &self.session.stop, &mut lines).await
            }
            Task::Prompt(request, prompt) => {
                let request = RunRequest { model, ..request.clone() };
                let prompts = self.prompts(prompt);
                let form = self.args.form();
                prompt::generate(request, &prompts, form, hive, printer, stats).await.map(|_| ())
            }
        }
    }

    fn prompts(&self, prompt: &str) -> Prompts {
        Prompts {
            text: prompt.to_owned(),
            system: self.args.system.clone(),
            template: self.template.clone(),
        }
    }

    fn fetch(&self) -> FetchRequest {
        FetchRequest { model: self.args.model.clone(), ..FetchRequest::default() }
    }

    /// Answers a prompt with a model that is not here, as it comes, and waits for the rest of it.
    async fn while_it_arrives(&self, hive: &dyn Hive) -> anyhow::Result<()> {
        let Task::Prompt(request, prompt) = &self.task else { return Ok(()) };
        let printer = &self.session.printer;
        let stats = self.args.stats || printer.verbose() > 0;
        let request = RunRequest { fetch: true, ..request.clone() };
        let (prompts, form) = (self.prompts(prompt), self.args.form());
        let ended = prompt::generate(request, &prompts, form, hive, printer, stats).await?;
        if ended == Ended::BeforeTheModel {
            printer.talk("the answer is complete; the rest of the model is still on its way");
            fetch::follow(self.fetch(), hive, printer, false).await?;
        }
        Ok(())
    }
}

/// What to tell the node to run; `None` if the model has to be fetched.
async fn find(source: &Source, hive: &dyn Hive) -> anyhow::Result<Option<String>> {
    let model = match source {
        Source::File(path) => return Ok(Some(path.clone())),
        Source::Model(model) => model.to_string(),
    };
    match hive.show(&model).await {
        Ok(details) if is_here(&details) => {
            Ok((details.summary.present >= details.summary.size).then_some(model))
        }
        Err(error) if error.kind != ErrorKind::NotFound => Err(error.into()),
        // What a stranger offers under the name of the user's file is not what he means.
        _ if Path::new(&model).exists() => absolute(&model).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_is_refused_and_never_cut() {
        assert_eq!(read_all(&b"four"[..], 4).unwrap(), "four");
        assert!(read_all(&b"fives"[..], 4).is_err());
        assert!(read_all(&b"\xff"[..], 4).is_err(), "no text");
    }
}
