//! Tells who is alone what can be done about it. The node goes on trying by itself.

use std::time::Duration;

use hive_api::Hive;
use serde_json::json;
use tokio::time::Instant;

use crate::printer::Printer;
use crate::settings::Settings;

/// How long a node may be alone before its owner hears of it.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it is asked whether it is.
const STEP: Duration = Duration::from_millis(500);

/// Waits until somebody is there, or says that nobody is. Ends then.
pub(super) async fn watch(hive: &dyn Hive, settings: &Settings, printer: &Printer) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // A node that does not answer is ending.
        let Ok(status) = hive.status().await else { return };
        if status.connected > 0 {
            return;
        }
        tokio::time::sleep(STEP).await;
    }
    let (what, ways) = (what(settings), ways(settings));
    if printer.json() {
        let event = json!({ "event": "alone", "message": what, "ways": ways });
        // Whoever does not read any more hears of nothing.
        let _ = printer.object(&event);
        return;
    }
    printer.talk(format_args!("{what}; still trying. Three ways in:"));
    for way in ways {
        printer.talk(format_args!("  {way}"));
    }
}

fn what(settings: &Settings) -> String {
    match settings.bootstrap.len() {
        0 => "nobody is there yet: no address was given and no neighbour answers".to_owned(),
        1 => "nobody is there yet: the bootstrap address does not answer".to_owned(),
        n => format!("nobody is there yet: none of {n} bootstrap addresses answers"),
    }
}

/// The ways into a network, the surest first.
fn ways(settings: &Settings) -> [String; 3] {
    let network = &settings.network;
    let neighbours = if settings.mdns {
        format!("a neighbour: `hive join` on another machine of this LAN, in network `{network}`")
    } else {
        format!(
            "a neighbour: `--mdns on` here, and `hive join` on another machine of this LAN, in \
             network `{network}`"
        )
    };
    [
        "an address: `hive join --bootstrap ADDR`; the other node prints its own with `hive id`"
            .to_owned(),
        "an invite code: `hive join CODE`; a member of the network prints one with `hive invite`"
            .to_owned(),
        neighbours,
    ]
}
