//! One file for each command: its arguments, what they resolve to, and what it does with a node.

pub(crate) mod add;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod fetch;
pub(crate) mod gc;
pub(crate) mod id;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod pin;
pub(crate) mod ps;
pub(crate) mod quantize;
pub(crate) mod relay;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod service;
pub(crate) mod share;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod update_check;
pub(crate) mod verify;

use crate::args::Command;
use crate::node::Need::{Disk, Network};
use crate::session::{Session, resumable};

/// Runs a command with the node that it needs.
pub(crate) async fn dispatch(command: Command, session: Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    match command {
        Command::Add(args) => {
            let requests = args.resolve()?;
            let adding = async |hive: &dyn hive_api::Hive| add::add(requests, hive, printer).await;
            session.with_node(Disk, adding).await.map_err(resumable)
        }
        Command::Fetch(args) => {
            let request = args.resolve()?;
            session
                .with_lasting_node(Network, async |hive| {
                    fetch::fetch(request.clone(), hive, printer).await
                })
                .await
        }
        Command::Run(args) => run::run(*args, &session).await,
        Command::Embed(args) => {
            let request = args.resolve()?;
            session.with_node(Disk, async |hive| embed::embed(request, hive, printer).await).await
        }
        Command::Ps(args) => ps::ps(&args, &session).await,
        Command::Quantize(args) => {
            let request = args.resolve();
            let work =
                async |hive: &dyn hive_api::Hive| quantize::quantize(request, hive, printer).await;
            session.with_node(Disk, work).await
        }
        Command::Ls => session.with_node(Disk, async |hive| ls::ls(hive, printer).await).await,
        Command::Show(args) => show::show(&args, &session).await,
        Command::Search(args) => search::search(&args, &session).await,
        Command::Share(args) => {
            session.with_node(Disk, async |hive| share::share(&args, hive, printer).await).await
        }
        Command::Rm(args) => {
            session.with_node(Disk, async |hive| rm::rm(&args, hive, printer).await).await
        }
        Command::Pin(args) => {
            session.with_node(Disk, async |hive| pin::pin(&args, hive, printer).await).await
        }
        Command::Cancel(args) => cancel::cancel(&args, &session).await,
        Command::Gc(args) => {
            session.with_node(Disk, async |hive| gc::gc(&args, hive, printer).await).await
        }
        Command::Verify(args) => {
            let need = if args.repair { Network } else { Disk };
            session.with_node(need, async |hive| verify::verify(&args, hive, printer).await).await
        }
        Command::Join(args) => join::join(&args, &session).await,
        Command::Relay(args) => relay::relay(&args, &session).await,
        Command::Doctor => doctor::doctor(&session).await,
        Command::Network(args) => network::network(args, &session).await,
        Command::Invite(args) => invite::invite(args, &session).await,
        Command::Peers(args) => peers::peers(&args, &session).await,
        Command::Status => {
            session.with_node(Disk, async |hive| status::status(hive, printer).await).await
        }
        Command::Id(args) => id::id(&args, &session).await,
        Command::Config(args) => config::show(&args, &session.settings, printer),
        Command::Demo(args) => demo::demo(args, &session).await,
        Command::Service(args) => service::service(&args, &session.settings, printer),
        Command::UpdateCheck(_) => update_check::update_check(&session).await,
        // These ran before there was a session.
        Command::Man(args) => man::man(&args, printer),
        Command::Completions(args) => completions::completions(&args, printer),
    }
}
