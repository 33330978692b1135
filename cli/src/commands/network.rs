//! `hive network`: private networks that this home knows.

use hive_api::{
    CreateNetwork, Hive, LeaveNetwork, MemberSummary, NetworkSummary, OwnMembership, Revoked,
};
use serde_json::json;

use crate::admission::{now, use_network};
use crate::failure::usage;
use crate::node::Need::Disk;
use crate::printer::Printer;
use crate::session::Session;
use crate::settings::file::ConfigFile;
use crate::settings::{Settings, Source, keys};
use crate::text::{Table, plain};
use crate::units;

/// The setting that names the network a home is in.
const SETTING: &str = "network";
/// Characters of a network's id that a table shows; enough to name it.
const SHORT_ID: usize = 12;

/// Make private networks, see who is in, put somebody out
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a private network; this home gets its secret key and can invite
    Create {
        /// What to call it: `a-z`, `0-9` and `-`
        name: String,
        /// Full addresses that its invites carry besides this node's own, as of a relay
        #[arg(long, value_name = "ADDR", num_args = 1.., value_delimiter = ',')]
        address: Vec<String>,
    },
    /// List the private networks that this home knows
    Ls,
    /// Show what is known of one
    Show {
        /// Its name or id; by default the one that this home is in
        network: Option<String>,
    },
    /// Make a network the one that this home is in
    Use {
        /// Its name or id
        network: String,
        /// It is a public network
        #[arg(long)]
        public: bool,
    },
    /// Forget a network, with this node's certificate for it
    Leave {
        /// Its name or id
        network: String,
        /// Also its secret key, without which nobody can invite or revoke
        #[arg(long)]
        with_key: bool,
    },
    /// List the members that are connected and those that came in with invites of this home
    Members {
        /// The network's name or id; by default the one that this home is in
        #[arg(long, value_name = "NETWORK")]
        network: Option<String>,
    },
    /// Put a member out: its certificates count no longer
    Revoke {
        /// A peer's id or a certificate's serial
        #[arg(value_name = "PEER|SERIAL")]
        who: String,
        /// The network's name or id; by default the one that this home is in
        #[arg(long, value_name = "NETWORK")]
        network: Option<String>,
    },
}

/// Does what is asked about networks.
pub(crate) async fn network(args: NetworkArgs, session: &Session) -> anyhow::Result<()> {
    let Session { settings, printer, .. } = session;
    session
        .with_node(Disk, async |hive| match args.action {
            Action::Create { name, address } => {
                create(CreateNetwork { name, addresses: address }, hive, settings, printer).await
            }
            Action::Ls => ls(hive, printer).await,
            Action::Show { network } => show(network.as_deref(), hive, printer).await,
            Action::Use { network, public } => {
                let id = if public { network } else { find(Some(&network), hive).await?.own.id };
                use_network(settings, &id, printer)?;
                used(&id, printer)
            }
            Action::Leave { network, with_key } => {
                leave(LeaveNetwork { network, with_key }, hive, settings, printer).await
            }
            Action::Members { network } => {
                let members = hive.members(network.as_deref()).await?;
                if printer.json() {
                    return Ok(printer.object(&members)?);
                }
                Ok(printer.data(table_of(&members))?)
            }
            Action::Revoke { who, network } => {
                let revoked = hive.revoke(network.as_deref(), &who).await?;
                tell_revoked(&revoked, printer)
            }
        })
        .await
}

async fn create(
    request: CreateNetwork,
    hive: &dyn Hive,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<()> {
    let made = hive.create_network(request).await?;
    let file = ConfigFile::load(&settings.home)?;
    let chosen = file.get(SETTING).is_none();
    if chosen {
        use_network(settings, &made.own.id, printer)?;
    }
    if printer.json() {
        return Ok(printer.object(&made)?);
    }
    printer.data(&made.own.id)?;
    let name = plain(&made.own.name);
    if chosen {
        printer.talk(format_args!("the network `{name}` is made, and this home is in it"));
    } else {
        printer.talk(format_args!(
            "the network `{name}` is made; `hive network use {name}` gets this home into it"
        ));
    }
    printer.talk(format_args!(
        "next: `hive join` here (anew, if a node runs), then `hive invite` for each node that shall come in. Its secret key is in \
         `{}`: make a copy, since nobody can invite without it",
        settings.home.join("networks").join(&made.own.id).display(),
    ));
    Ok(())
}

async fn ls(hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let networks = hive.networks().await?;
    if printer.json() {
        return Ok(printer.object(&networks)?);
    }
    if networks.is_empty() {
        printer.talk(
            "no private network; `hive network create NAME` makes one, `hive join CODE` joins one",
        );
        return Ok(());
    }
    let mut table = Table::new(["NAME", "ID", "HERE", "ROLE", "UNTIL"]);
    for network in networks {
        let NetworkSummary { own, current, .. } = network;
        table.row([
            own.name.clone(),
            own.id.chars().take(SHORT_ID).collect(),
            if current { "in use" } else { "-" }.to_owned(),
            own.role.map_or("-", hive_api::MemberRole::as_str).to_owned(),
            match (&own.problem, own.expires) {
                (Some(problem), _) => problem.clone(),
                (None, Some(expires)) => units::date(expires),
                (None, None) => "-".to_owned(),
            },
        ]);
    }
    Ok(printer.data(table)?)
}

/// The network that is meant: by name, id, the beginning of an id, or the current one.
async fn find(named: Option<&str>, hive: &dyn Hive) -> anyhow::Result<NetworkSummary> {
    let mut networks = hive.networks().await?;
    let fits = |network: &NetworkSummary| match named {
        Some(text) => {
            network.own.name == text || (text.len() >= 8 && network.own.id.starts_with(text))
        }
        None => network.current,
    };
    let here = networks.len();
    let mut found: Vec<_> = networks.extract_if(.., |network| fits(network)).collect();
    if named.is_none() && found.is_empty() && here == 1 {
        found = networks;
    }
    match (found.pop(), found.is_empty()) {
        (Some(network), true) => Ok(network),
        (Some(last), false) => {
            let ids: Vec<_> =
                found.into_iter().chain([last]).map(|network| network.own.id).collect();
            Err(usage("several private networks of this home are called that")
                .hint(format!("say which by its id: {}", ids.join(", ")))
                .into())
        }
        (None, _) => {
            let message = match named {
                Some(text) => format!("this home knows no private network `{}`", plain(text)),
                None => "this home is in no private network".to_owned(),
            };
            Err(usage(message)
                .hint(
                    "`hive network ls` lists them; `hive join CODE` joins one; a public one is used with `--public`",
                )
                .into())
        }
    }
}

async fn show(named: Option<&str>, hive: &dyn Hive, printer: &Printer) -> anyhow::Result<()> {
    let network = find(named, hive).await?;
    if printer.json() {
        return Ok(printer.object(&network)?);
    }
    let NetworkSummary { own, current, has_key, addresses, revoked } = network;
    let fact = |name: &str, value: String| printer.data(format_args!("{name:<11}{value}"));
    for (name, value) in facts(&own) {
        fact(name, value)?;
    }
    fact("id", own.id.clone())?;
    if let Some(serial) = &own.serial {
        fact("serial", serial.clone())?;
    }
    fact("in use", if current { "yes" } else { "no" }.to_owned())?;
    fact(
        "secret key",
        if has_key { "here: this home can invite and revoke" } else { "not here" }.to_owned(),
    )?;
    fact("revoked", format!("{revoked} certificates"))?;
    for address in addresses {
        fact("address", plain(&address))?;
    }
    tell_concern(&own, printer);
    Ok(())
}

/// What `hive status` and `hive network show` say of a membership.
pub(crate) fn facts(own: &OwnMembership) -> Vec<(&'static str, String)> {
    let id: String = own.id.chars().take(SHORT_ID).collect();
    let mut facts = vec![("network", format!("{} (private, {id}…)", plain(&own.name)))];
    if let Some(role) = own.role {
        facts.push(("member as", role.as_str().to_owned()));
    }
    if let Some(expires) = own.expires {
        facts.push(("until", units::date(expires)));
    }
    facts
}

/// Says what is wrong with a membership, if anything is.
pub(crate) fn tell_concern(own: &OwnMembership, printer: &Printer) {
    if let Some(concern) = own.concern(now()) {
        printer.warning(format_args!("{}; {}", plain(&concern.found), concern.remedy));
    }
}

fn used(network: &str, printer: &Printer) -> anyhow::Result<()> {
    if printer.json() {
        return Ok(printer.object(&json!({ "network": network }))?);
    }
    printer.talk(format_args!(
        "this home is in the network `{}` from its next start on. What it shares, it shares with that \
         network then; for things that are not for both, use two homes (`--home`)",
        plain(network),
    ));
    Ok(())
}

async fn leave(
    request: LeaveNetwork,
    hive: &dyn Hive,
    settings: &Settings,
    printer: &Printer,
) -> anyhow::Result<()> {
    let left = hive.leave_network(request).await?;
    let mut file = ConfigFile::load(&settings.home)?;
    let named = file.get(SETTING);
    if named.is_some_and(|named| named == left.own.id || named == left.own.name) {
        let key = keys::find(SETTING).expect("there is such a setting");
        file.set(key, None);
        file.save()?;
    }
    if printer.json() {
        return Ok(printer.object(&left)?);
    }
    printer.talk(format_args!(
        "`{}` is left; this home cannot go back without a new invite",
        plain(&left.own.name)
    ));
    let mut origins = settings.origins.iter();
    if let Some((_, value, source @ Source::Environment(_))) =
        origins.find(|(key, ..)| key.name == SETTING)
        && (*value == left.own.id || *value == left.own.name)
    {
        printer.warning(format_args!("{source} still names it"));
    }
    Ok(())
}

fn table_of(members: &[MemberSummary]) -> Table {
    let mut table = Table::new(["PEER", "NAME", "ROLE", "STATE", "UNTIL", "SERIAL"]);
    for member in members {
        let state = match member {
            MemberSummary { revoked: true, .. } => "revoked",
            MemberSummary { this_node: true, .. } => "this node",
            MemberSummary { connected: true, .. } => "connected",
            _ => "away",
        };
        table.row([
            member.peer.clone(),
            member.name.clone().unwrap_or_else(|| "-".to_owned()),
            member.role.as_str().to_owned(),
            state.to_owned(),
            units::date(member.expires),
            member.serial.clone(),
        ]);
    }
    table
}

fn tell_revoked(revoked: &Revoked, printer: &Printer) -> anyhow::Result<()> {
    if printer.json() {
        return Ok(printer.object(revoked)?);
    }
    if revoked.serials.is_empty() {
        printer.talk("all of its certificates were revoked before");
    }
    for serial in &revoked.serials {
        printer.data(serial)?;
    }
    for invite in &revoked.withdrawn {
        let short: String = invite.chars().take(SHORT_ID).collect();
        printer.talk(format_args!(
            "the invite {short}… that it came in with is taken back, too: it knows the code"
        ));
    }
    if revoked.told {
        printer.talk(
            "members that are connected are told when they next meet; its connections here end now",
        );
    } else {
        printer.talk(
            "no node of this network runs here: members hear of it once one does (`hive join`)",
        );
    }
    Ok(())
}
