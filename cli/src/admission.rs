//! The way into a private network with a code: `hive join CODE`, and any other command that is a
//! node until it is stopped.
//!
//! Never prints or logs a code. On the command line it stands in the shell's history and in the list
//! of processes; `-` reads it from stdin instead.

use std::io::IsTerminal as _;
use std::time::{SystemTime, UNIX_EPOCH};

use hive_api::{ErrorKind, HiveError, Secret};
use hive_protocol::limits::INVITE_TEXT_LEN;
use hive_protocol::membership::{CodeError, InviteCode};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::failure::usage;
use crate::node::Node;
use crate::printer::Printer;
use crate::session::Session;
use crate::settings::file::ConfigFile;
use crate::settings::{Settings, Source, keys};
use crate::text::plain;
use crate::units;

/// What stands for a code that comes from stdin.
const STDIN: &str = "-";

/// Starts a node with `start`: with a code in the network that it leads to, else in the one of the
/// settings. With a code it is a member when this returns, and the home is in that network from then
/// on.
pub(crate) async fn enter(
    code: Option<&Secret>,
    session: &Session,
    start: impl AsyncFnOnce(Option<InviteCode>) -> hive_api::Result<Node>,
) -> anyhow::Result<Node> {
    let Session { settings, printer, stop } = session;
    let Some(code) = code else {
        let node = stop.unless_wanted(start(None)).await??;
        tell_concern(&node, printer).await?;
        return Ok(node);
    };
    let code = read(code, session).await?;
    let name = plain(&code.name);
    let id = code.network.id().to_string();
    let node = stop.unless_wanted(start(Some(code))).await??;
    if printer.talks() {
        printer.talk(format_args!("asking to be let into the network `{name}`"));
    }
    let admitted = stop.unless_wanted(node.admitted(settings.provider_timeout)).await;
    if let Err(error) = admitted.and_then(|admitted| admitted) {
        node.shutdown().await;
        return Err(error.into());
    }
    if printer.talks() {
        printer.talk(format_args!("this node is a member of the network `{name}`"));
    }
    if let Err(error) = use_network(settings, &id, printer) {
        node.shutdown().await;
        return Err(error.into());
    }
    Ok(node)
}

/// Says why others will refuse this node, if they will.
async fn tell_concern(node: &Node, printer: &Printer) -> anyhow::Result<()> {
    let status = node.hive().status().await?;
    if let Some(concern) = status.membership.and_then(|own| own.concern(now()))
        && !printer.json()
    {
        printer.warning(format_args!("{}; {}", plain(&concern.found), concern.remedy));
    }
    Ok(())
}

/// Makes a network the one that the home is in when nobody says another.
pub(crate) fn use_network(
    settings: &Settings,
    network: &str,
    printer: &Printer,
) -> Result<(), HiveError> {
    let key = keys::find("network").expect("there is such a setting");
    Settings::check(key, network)?;
    let mut file = ConfigFile::load(&settings.home)?;
    if file.get(key.name).as_deref() != Some(network) {
        file.set(key, Some(network));
        file.save()?;
    }
    let mut origins = settings.origins.iter();
    let stronger = origins.find(|(known, _, source)| {
        known.name == key.name && matches!(source, Source::Environment(_))
    });
    if let Some((_, value, source)) = stronger
        && value != network
        && !printer.json()
    {
        printer.warning(format_args!(
            "`config.toml` names the network now, but {source} says `{value}` and goes before it"
        ));
    }
    Ok(())
}

/// Reads a code: the argument, or stdin.
async fn read(code: &Secret, session: &Session) -> anyhow::Result<InviteCode> {
    let now = now();
    if code.expose() != STDIN {
        return Ok(InviteCode::decode_at(code.expose(), now).map_err(|error| in_words(&error))?);
    }
    if std::io::stdin().is_terminal() && session.printer.talks() {
        session.printer.talk("paste the invite code and press Enter");
    }
    let stdin = BufReader::new(tokio::io::stdin().take(INVITE_TEXT_LEN as u64 + 1));
    let decoded = session.stop.unless_wanted(from_lines(stdin, now)).await??;
    Ok(decoded.map_err(|error| in_words(&error))?)
}

/// Reads lines until they make a code. Mail programs and terminals break long words, so one line may
/// not be all of it; an empty line, or the end, is.
async fn from_lines(
    mut input: impl AsyncBufRead + Unpin,
    now: u64,
) -> Result<Result<InviteCode, CodeError>, HiveError> {
    let mut text = String::new();
    loop {
        let before = text.len();
        let read = input.read_line(&mut text).await;
        read.map_err(|error| {
            HiveError::caused(ErrorKind::Failed, "cannot read the invite code from stdin", &error)
        })?;
        let ended = text[before..].trim().is_empty() && (text.len() == before || before > 0);
        match InviteCode::decode_at(&text, now) {
            Err(CodeError::Damaged | CodeError::NotACode) if !ended => {}
            decoded => return Ok(decoded),
        }
    }
}

/// Why a code is none that can be used, and what to do.
fn in_words(error: &CodeError) -> HiveError {
    let (message, hint) = match error {
        CodeError::Expired { expired, .. } => (
            format!("the invite code expired on {}", units::date(*expired)),
            "ask whoever sent it for a new one; if that date has not come yet, set this machine's clock",
        ),
        CodeError::NotACode => (
            error.to_string(),
            "a code comes from `hive invite`; a public network is joined with `hive join --network NAME`",
        ),
        CodeError::Newer => (error.to_string(), "`hive update-check` says which version there is"),
        _ => (error.to_string(), "ask whoever sent it for the code again if it stays so"),
    };
    usage(message).hint(hint)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use hive_protocol::membership::{InviteSecret, NetworkKey};

    use super::*;

    fn code(expires: u64) -> InviteCode {
        // The base point of the curve, a key like any other.
        let mut key = [0x66; 32];
        key[0] = 0x58;
        let network = NetworkKey::from_bytes(key).expect("a key");
        let (secret, addresses) = (InviteSecret([7; 16]), vec!["/ip4/192.0.2.1/tcp/1".to_owned()]);
        InviteCode { network, secret, expires, addresses, name: "home".to_owned() }
    }

    async fn read(text: &str) -> Result<InviteCode, CodeError> {
        from_lines(text.as_bytes(), 10).await.unwrap()
    }

    #[tokio::test]
    async fn a_code_that_was_broken_into_lines_is_read_and_nothing_after_it() {
        let text = code(20).encode().unwrap();
        let (a, b) = text.split_at(40);
        assert_eq!(read(&format!("{text}\nmore")).await, Ok(code(20)));
        assert_eq!(read(&format!("  {a}\n> {b}\n")).await, Err(CodeError::Damaged));
        assert_eq!(read(&format!("\n{a}\r\n {b}\nrest")).await, Ok(code(20)));
        assert_eq!(read(&text.to_ascii_uppercase()).await, Ok(code(20)));
        assert_eq!(read(&format!("{a}\n\n{b}")).await, Err(CodeError::Damaged));
        assert_eq!(read("").await, Err(CodeError::NotACode));
        assert_eq!(
            read(&code(5).encode().unwrap()).await,
            Err(CodeError::Expired { expired: 5, now: 10 })
        );
    }

    #[test]
    fn no_error_shows_the_code() {
        let text = code(5).encode().unwrap();
        for wrong in [text.as_str(), &text[1..], &text[..60], &text.replace("hive1", "hive9")] {
            let error = in_words(&InviteCode::decode_at(wrong, 10).unwrap_err());
            let shown = format!("{error:?}");
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(!shown.contains(&wrong[8..24]), "{shown}");
        }
    }
}
