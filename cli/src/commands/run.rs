//! `hive run`: continue a prompt with a model, which is fetched first if it is not here.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use futures::StreamExt as _;
use hive_api::{
    Device, ErrorKind, FetchRequest, Finish, Generated, Hive, HiveError, RunEvent, RunRequest,
    Sampling,
};

use crate::args::NetArgs;
use crate::commands::fetch;
use crate::failure::usage;
use crate::model::ModelRef;
use crate::node::Need;
use crate::printer::Printer;
use crate::session::Session;
use crate::units;

/// Bytes read as a prompt from stdin at most; no context holds more.
const PROMPT_LEN: u64 = 4 << 20;

/// Continue a prompt with a model; fetches the model first if it is not here
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Id or name of a model, or a GGUF file
    model: String,

    /// Text to continue [default: what stdin says]
    prompt: Option<String>,

    /// 0 takes the most likely token every time; more is more daring
    #[arg(long, value_name = "T", value_parser = temperature, default_value = "0.7")]
    temperature: f32,

    /// Draw from the smallest set of tokens that is this probable together [0..1]
    #[arg(long, value_name = "P", value_parser = top_p, default_value = "0.95")]
    top_p: f32,

    /// Draw from this many most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 64)]
    top_k: u32,

    /// Same seed, model and prompt: same text [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,

    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// Where to compute
    #[arg(long, value_enum, default_value_t)]
    device: DeviceArg,

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

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(t) if (0.0..=100.0).contains(&t) => Ok(t),
        _ => Err("a temperature is a number from 0 on".to_owned()),
    }
}

fn top_p(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("a probability is a number above 0 and up to 1".to_owned()),
    }
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
    fn resolve(&self) -> anyhow::Result<(Source, RunRequest)> {
        let prompt = match &self.prompt {
            Some(prompt) => prompt.clone(),
            None => prompt_of_stdin()?,
        };
        let source = if is_path(&self.model) {
            Source::File(absolute(&self.model)?)
        } else {
            let parsed = self.model.parse();
            Source::Model(parsed.map_err(|why: String| usage(format!("`{}`: {why}", self.model)))?)
        };
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: (self.top_k > 0).then_some(self.top_k),
            top_p: (self.top_p < 1.0).then_some(self.top_p),
            seed: self.seed.unwrap_or_else(rand::random),
        };
        let device = match self.device {
            DeviceArg::Cpu => Device::Cpu,
            DeviceArg::Cuda => Device::Cuda,
            DeviceArg::Metal => Device::Metal,
        };
        let request = RunRequest {
            model: self.model.clone(),
            prompt,
            max_tokens: self.max_tokens,
            sampling,
            stop: self.stop.iter().filter(|text| !text.is_empty()).cloned().collect(),
            device,
        };
        Ok((source, request))
    }
}

fn prompt_of_stdin() -> anyhow::Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(usage("there is no prompt")
            .hint("`hive run MODEL \"Once upon a time\"`, or pipe it in")
            .into());
    }
    let mut prompt = String::new();
    stdin
        .lock()
        .take(PROMPT_LEN)
        .read_to_string(&mut prompt)
        .map_err(|error| usage(format!("the prompt on stdin is no text: {error}")))?;
    Ok(prompt)
}

/// Whether a text can only be a path: names start with a letter or digit and have no backslash.
fn is_path(text: &str) -> bool {
    text.starts_with(['.', '/']) || text.contains('\\') || Path::new(text).is_absolute()
}

fn absolute(path: &str) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path)
        .map_err(|error| usage(format!("`{path}` is no path: {error}")))?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|_| {
        usage(format!("the directory of `{path}` has a name that is not UTF-8")).into()
    })
}

/// Runs a model of the store or a file; or fetches it and then does.
pub(crate) async fn run(args: RunArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let (source, request) = args.resolve()?;
    let stats = args.stats || printer.verbose() > 0;
    let local = session
        .with_node(Need::Disk, async |hive| {
            let Some(model) = find(&source, hive).await? else { return Ok(false) };
            let request = RunRequest { model, ..request.clone() };
            generate(request, hive, printer, stats).await?;
            Ok(true)
        })
        .await?;
    if local {
        return Ok(());
    }
    let fetch = FetchRequest { model: request.model.clone(), ..FetchRequest::default() };
    let fetching =
        async |hive: &dyn Hive| fetch::follow(fetch.clone(), hive, printer, printer.json()).await;
    let fetched = session.with_lasting_node(Need::Network, fetching).await?;
    let request = RunRequest { model: fetched.cid, ..request };
    let generating = async |hive: &dyn Hive| generate(request, hive, printer, stats).await;
    session.with_node(Need::Disk, generating).await
}

/// What to tell the node to run; `None` if the model has to be fetched.
async fn find(source: &Source, hive: &dyn Hive) -> anyhow::Result<Option<String>> {
    let model = match source {
        Source::File(path) => return Ok(Some(path.clone())),
        Source::Model(model) => model.to_string(),
    };
    match hive.show(&model).await {
        Ok(details) if details.summary.present >= details.summary.size => Ok(Some(model)),
        Ok(_) => Ok(None),
        Err(error) if error.kind == ErrorKind::NotFound => {
            if Path::new(&model).is_file() {
                absolute(&model).map(Some)
            } else {
                Ok(None)
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Generates; the text goes to stdout as it is made, or each event as a line of JSON.
pub(crate) async fn generate(
    request: RunRequest,
    hive: &dyn Hive,
    printer: &Printer,
    stats: bool,
) -> anyhow::Result<()> {
    let seed = request.sampling.seed;
    let mut events = hive.run(request).await?;
    let mut ends_line = true;
    while let Some(event) = events.next().await {
        let event = event?;
        if printer.json() {
            printer.object(&event)?;
        }
        match event {
            RunEvent::Loaded { seconds, .. } if stats => {
                printer.talk(format_args!("loaded in {}", units::seconds(seconds)));
            }
            RunEvent::Loaded { .. } => {}
            RunEvent::Text { text } if !printer.json() => {
                printer.text(&text)?;
                ends_line = text.ends_with('\n');
            }
            RunEvent::Text { .. } => {}
            RunEvent::Done(generated) => {
                if !printer.json() && !ends_line {
                    printer.data("")?;
                }
                if stats {
                    printer.talk(told(&generated, seed));
                }
                return Ok(());
            }
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the generation ended").into())
}

fn told(generated: &Generated, seed: u64) -> String {
    let rate = |tokens: u32, seconds: f64| f64::from(tokens) / seconds.max(1e-9);
    let Generated { prompt_tokens, generated_tokens, prompt_seconds, generate_seconds, .. } =
        *generated;
    let ended = match generated.finish {
        Finish::Stop => "the model ended it",
        Finish::Length => "the limit ended it",
        Finish::Cancelled => "it was stopped",
    };
    format!(
        "prompt: {prompt_tokens} tokens, {:.1} a second; text: {generated_tokens} tokens, {:.1} a \
         second; {ended}; seed {seed}",
        rate(prompt_tokens, prompt_seconds),
        rate(generated_tokens, generate_seconds),
    )
}
