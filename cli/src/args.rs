//! What stands on the command line. Nothing runs here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::add::AddArgs;
use crate::commands::cancel::CancelArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::config::ConfigArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::embed::EmbedArgs;
use crate::commands::fetch::FetchArgs;
use crate::commands::gc::GcArgs;
use crate::commands::id::IdArgs;
use crate::commands::invite::InviteArgs;
use crate::commands::join::JoinArgs;
use crate::commands::man::ManArgs;
use crate::commands::network::NetworkArgs;
use crate::commands::peers::PeersArgs;
use crate::commands::pin::PinArgs;
use crate::commands::ps::PsArgs;
use crate::commands::quantize::QuantizeArgs;
use crate::commands::relay::RelayArgs;
use crate::commands::rm::RmArgs;
use crate::commands::run::RunArgs;
use crate::commands::search::SearchArgs;
use crate::commands::service::ServiceArgs;
use crate::commands::share::ShareArgs;
use crate::commands::show::ShowArgs;
use crate::commands::update_check::UpdateCheckArgs;
use crate::commands::verify::VerifyArgs;
use crate::settings::Flags;

const EXIT_CODES: &str = "\
Exit codes:
  0 done · 1 failed · 2 usage · 3 nobody has it · 4 verification failed · 5 no space or over quota
  6 network unreachable · 7 refused by policy · 130 interrupted

A command talks to the node that runs on the same home (`hive join`), or starts one for itself.
stdout is data, stderr is talk; docs/cli.md describes what `--json` prints.";

/// A swarm for AI models: add, share, fetch from many peers at once, run
#[derive(Debug, Parser)]
#[command(name = "hive", version, after_help = EXIT_CODES, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Directory of the node: keys, index, models [env: HIVE_HOME] [default: the platform's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say nothing but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more; twice and thrice for logs of more detail
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(AddArgs),
    Fetch(FetchArgs),
    Run(Box<RunArgs>),
    Embed(EmbedArgs),
    Ps(PsArgs),
    Quantize(QuantizeArgs),
    /// List the models that are here
    Ls,
    Show(ShowArgs),
    Search(SearchArgs),
    Share(ShareArgs),
    Rm(RmArgs),
    Pin(PinArgs),
    Cancel(CancelArgs),
    Gc(GcArgs),
    Verify(VerifyArgs),
    Join(Box<JoinArgs>),
    Relay(Box<RelayArgs>),
    Network(NetworkArgs),
    Invite(InviteArgs),
    Peers(PeersArgs),
    /// Tell how the node is
    Status,
    /// Check what a support engineer would, and say what to do in which order
    Doctor,
    Id(IdArgs),
    Config(ConfigArgs),
    Demo(DemoArgs),
    Service(ServiceArgs),
    UpdateCheck(UpdateCheckArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// How a node that this command starts finds others. A node that runs already keeps its own ways.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Network options")]
pub(crate) struct NetArgs {
    /// Name of the network: a private one that this home knows, else a public one
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Full address of a node to join through; may be given several times
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    bootstrap: Vec<String>,

    /// Give up when nobody has it after this long, as in `20s`
    #[arg(long, value_name = "TIME")]
    provider_timeout: Option<String>,

    /// Announce and dial loopback and private addresses (a network of one's own)
    #[arg(long)]
    allow_private: bool,
}

impl NetArgs {
    /// The keys that these set.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = Flags::new();
        set(&mut flags, "network", self.network.as_ref());
        set_list(&mut flags, "bootstrap", &self.bootstrap);
        set(&mut flags, "provider-timeout", self.provider_timeout.as_ref());
        if self.allow_private {
            flags.insert("allow-private", "on".to_owned());
        }
        flags
    }
}

/// Puts an option's value among the flags.
pub(crate) fn set(flags: &mut Flags, key: &'static str, value: Option<&String>) {
    if let Some(value) = value {
        flags.insert(key, value.clone());
    }
}

/// Puts a list among the flags, unless it is empty.
pub(crate) fn set_list(flags: &mut Flags, key: &'static str, values: &[String]) {
    if !values.is_empty() {
        flags.insert(key, values.join(","));
    }
}

impl Command {
    /// The settings that the command's flags set.
    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self::Fetch(args) => args.net.flags(),
            Self::Run(args) => args.net.flags(),
            Self::Show(args) => args.net.flags(),
            Self::Search(args) => args.net.flags(),
            Self::Join(args) => args.flags(),
            Self::Relay(args) => args.flags(),
            _ => Flags::new(),
        }
    }
}
