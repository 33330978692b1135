//! `hive invite`: let somebody into a private network.

mod qr;

use std::time::Duration;

use hive_api::{Hive, Invitation, InviteRequest, InviteSummary, MemberRole};

use crate::admission::now;
use crate::node::Need::Disk;
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, plain};
use crate::units;

/// Characters of an invite's public key that a table shows; enough to name it.
const SHORT_KEY: usize = 12;

/// Print a code that lets somebody into a private network; whoever has it gets in
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct InviteArgs {
    /// The network's name or id; by default the one that this home is in
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,

    /// As what it lets in: `member` or `relay`
    #[arg(long, default_value = "member", value_parser = role)]
    role: MemberRole,

    /// How long the code can be used
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::parse_duration)]
    expires: Duration,

    /// How many nodes it lets in
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,

    /// How long who came in stays a member; by default ten years, or until revoked
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    member_for: Option<Duration>,

    /// Also show the code as a QR code
    #[arg(long)]
    qr: bool,

    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the invites that were made here, and who came in with which
    Ls {
        /// The network's name or id; by default the one that this home is in
        #[arg(long, value_name = "NETWORK")]
        network: Option<String>,
    },
    /// Take an invite back; who came in with it stays
    Revoke {
        /// The beginning of what `hive invite ls` shows of it
        invite: String,
        /// The network's name or id; by default the one that this home is in
        #[arg(long, value_name = "NETWORK")]
        network: Option<String>,
    },
}

fn role(text: &str) -> Result<MemberRole, String> {
    match text {
        "member" => Ok(MemberRole::Member),
        "relay" => Ok(MemberRole::Relay),
        "admin" => Err("an admin is who has the network's secret key, which no code carries; \
                        docs/operations.md says how to copy it to a second machine"
            .to_owned()),
        _ => Err(format!("`{text}` is neither `member` nor `relay`")),
    }
}

/// Makes, lists or takes back invites.
pub(crate) async fn invite(args: InviteArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    session
        .with_node(Disk, async |hive| match &args.action {
            None => make(&args, hive, printer).await,
            Some(Action::Ls { network }) => {
                let invites = hive.invites(network.as_deref()).await?;
                ls(&invites, printer)
            }
            Some(Action::Revoke { invite, network }) => {
                let invite = hive.withdraw(network.as_deref(), invite).await?;
                if printer.json() {
                    return Ok(printer.object(&invite)?);
                }
                printer.talk("nobody else gets in with it");
                for came in &invite.redeemed {
                    printer.talk(format_args!(
                        "  {} came in with it and stays; `hive network revoke` puts it out",
                        plain(&came.peer)
                    ));
                }
                Ok(())
            }
        })
        .await
}

async fn make(args: &InviteArgs, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let request = InviteRequest {
        network: args.network.clone(),
        role: args.role,
        expires_secs: args.expires.as_secs(),
        uses: args.uses,
        member_secs: args.member_for.map(|time| time.as_secs()),
    };
    let made = hive.invite(request).await?;
    if printer.json() {
        return Ok(printer.object(&made)?);
    }
    tell(&made, printer);
    if args.qr {
        let drawn = qr::draw(made.code.expose(), printer.color())?;
        printer.talk(drawn);
    }
    Ok(printer.data(made.code.expose())?)
}

/// What the code holds, without its secret.
fn tell(made: &Invitation, printer: &Printer) {
    let Invitation { invite, name, addresses, .. } = made;
    let nodes =
        if invite.uses == 1 { "one node".to_owned() } else { format!("{} nodes", invite.uses) };
    printer.talk(format_args!(
        "the code lets {nodes} into the network `{}` as {}, until {}",
        plain(name),
        invite.role.as_str(),
        units::date(invite.expires),
    ));
    let short: String = invite.invite.chars().take(SHORT_KEY).collect();
    printer
        .talk(format_args!("whoever has it gets in: `hive invite revoke {short}` takes it back"));
    if addresses.is_empty() {
        printer.warning(
            "the code has no address: make it while `hive join` runs here, or give whom it is for another way in \
             (`hive join CODE --bootstrap ADDR`)",
        );
    }
    for address in addresses {
        printer.talk(format_args!("  leads to {}", plain(address)));
    }
    printer.talk("an admin's node (`hive join` on this home) has to run when it is used. On the other machine: `hive join -`, and paste it");
}

fn ls(invites: &[InviteSummary], printer: &Printer) -> anyhow::Result<()> {
    if printer.json() {
        return Ok(printer.object(&invites)?);
    }
    if invites.is_empty() {
        printer.talk("no invite was made here; `hive invite` makes one");
        return Ok(());
    }
    let now = now();
    let mut table = Table::new(["INVITE", "ROLE", "STATE", "LEFT", "UNTIL", "CAME IN"]);
    for invite in invites {
        let state = match invite {
            InviteSummary { withdrawn: true, .. } => "taken back",
            InviteSummary { expires, .. } if *expires <= now => "expired",
            InviteSummary { uses_left: 0, .. } => "used up",
            _ => "open",
        };
        let came = invite.redeemed.iter().map(|came| {
            let peer = crate::text::short_peer(&came.peer);
            if came.revoked { format!("{peer} (revoked)") } else { peer }
        });
        table.row([
            invite.invite.chars().take(SHORT_KEY).collect(),
            invite.role.as_str().to_owned(),
            state.to_owned(),
            format!("{}/{}", invite.uses_left, invite.uses),
            units::date(invite.expires),
            came.collect::<Vec<_>>().join(", "),
        ]);
    }
    Ok(printer.data(table)?)
}
