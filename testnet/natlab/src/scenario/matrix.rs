//! Every kind of router with every other: do two laptops meet directly, how fast, and if they
//! cannot, do they say why and leave the relay without a model's bytes?

use std::time::Instant;

use anyhow::Context as _;

use crate::kind::Kind;
use crate::lab::Lab;
use crate::limits::{COMMAND, DIRECT, PUNCHED, SIGNALLING};
use crate::node::Node;
use crate::stage::{self, Setting, Transport};
use crate::table::{Table, Verdict};
use crate::view::{self, Peer};
use crate::wait::until;

/// Of so many tries one may fail.
const ONE_IN: usize = 20;

/// The model that is tried on every pair: larger than what a relay carries for signalling.
const BULK: u64 = 4 << 20;

/// Which cells, and how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MatrixArgs {
    /// Over what [default: both]
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// Tries of each cell
    #[arg(long, default_value_t = 1)]
    tries: usize,
    /// Only this pair, as in `cone:symmetric`
    #[arg(long, value_name = "A:B", value_parser = pair)]
    pair: Option<(Kind, Kind)>,
    /// Also write the table into this document, between its marks
    #[arg(long, value_name = "FILE")]
    doc: Option<std::path::PathBuf>,
}

fn pair(text: &str) -> anyhow::Result<(Kind, Kind)> {
    let kinds = text.split_once(':').and_then(|(a, b)| Some((Kind::parse(a)?, Kind::parse(b)?)));
    kinds.with_context(|| format!("`{text}`: two of none, cone, remap, symmetric with a colon"))
}

/// How one try went.
#[derive(Debug)]
struct Try {
    /// Seconds until the path was direct.
    direct: Option<f64>,
    /// What hive said in the end.
    last: Peer,
    /// How the model came across, on the first try of a cell.
    bulk: Option<Bulk>,
}

#[derive(Debug)]
struct Bulk {
    fetched: bool,
    /// What a refused fetch said.
    words: String,
    /// Bytes that crossed the relay's line meanwhile.
    over_relay: u64,
    /// Bytes that the relays say went through circuits, from the beginning.
    circuits: u64,
}

/// All tries of two kinds over one transport.
#[derive(Debug)]
struct Cell {
    a: Kind,
    b: Kind,
    transport: Transport,
    tries: Vec<Result<Try, String>>,
}

pub(crate) async fn run(
    setting: &Setting,
    args: &MatrixArgs,
    say: &dyn Fn(&str),
) -> anyhow::Result<bool> {
    let mut cells = Vec::new();
    for transport in Transport::ALL {
        if args.transport.is_some_and(|only| only != transport) {
            continue;
        }
        for (a, b) in Kind::ALL.into_iter().flat_map(|a| Kind::ALL.map(|b| (a, b))) {
            if args.pair.is_some_and(|only| only != (a, b)) {
                continue;
            }
            let mut cell = Cell { a, b, transport, tries: Vec::new() };
            for number in 0..args.tries.max(1) {
                let tried = attempt(setting, (a, b), transport, number as u64).await;
                // A try that could not be made is a try that failed, and the others go on.
                cell.tries.push(tried.map_err(|error| format!("{error:#}")));
            }
            say(&cell.line());
            cells.push(cell);
        }
    }
    let text = report(&cells);
    say(&format!("\n{text}"));
    if let Some(doc) = &args.doc {
        crate::table::keep(doc, "natlab matrix", &text)?;
    }
    let verdict = judge(&cells);
    say(&verdict.to_string());
    Ok(verdict.held())
}

async fn attempt(
    setting: &Setting,
    (a, b): (Kind, Kind),
    transport: Transport,
    number: u64,
) -> anyhow::Result<Try> {
    let mut setting = setting.clone();
    setting.topology.seed ^= number << 16;
    let mut lab = setting.lab(a, b)?;
    // Two, since one host alone cannot tell what a router does with ports.
    let relays =
        [setting.relay(&lab, "relay", &[]).await?, setting.relay(&lab, "observer", &[]).await?];
    let mut bootstrap = Vec::new();
    for relay in &relays {
        bootstrap.push(stage::full_address(&lab, relay, transport)?);
    }
    let over = [transport];
    let a_node = setting.join(&lab, "laptop-a", &over, &bootstrap, &[]).await?;
    let b_node = setting.join(&lab, "laptop-b", &over, &bootstrap, &[]).await?;
    let address = stage::dialable(&lab, &b_node).await?;
    // The first dials the second as whoever found it would: by the address that it announces.
    let started = Instant::now();
    let dialed = a_node.user.run_within(&["peers", "--connect", &address], COMMAND).await?;
    anyhow::ensure!(dialed.code == Some(0), "{address} was not reached: {}", dialed.last_words());
    let mut last = Peer::default();
    let direct = until("a direct path", DIRECT.saturating_sub(started.elapsed()), async || {
        match view::peer(&a_node.user, b_node.peer()).await {
            Ok(peer) => last = peer,
            Err(error) => return Err(format!("{error:#}")),
        }
        match last.path.as_deref() {
            Some("direct") => Ok(started.elapsed().as_secs_f64()),
            path => Err(format!("{path:?}")),
        }
    });
    // What cannot be direct is waited for as well, so that it is seen not to become so.
    let direct = direct.await.ok();
    let bulk = match number {
        0 => Some(bulk(&setting, &mut lab, &relays, &a_node, &b_node).await?),
        _ => None,
    };
    // That it is still being tried is no reason: on the first try the end of it is waited for.
    if number == 0 && direct.is_none() {
        last = reasoned(&a_node, &b_node).await?;
    }
    for node in [a_node, b_node].into_iter().chain(relays) {
        node.end().await?;
    }
    Ok(Try { direct, last, bulk })
}

/// What `a` says of `b` once no attempt at a direct path goes on.
async fn reasoned(a: &Node, b: &Node) -> anyhow::Result<Peer> {
    until("the attempts at a direct path to end", PUNCHED, async || {
        match view::peer(&a.user, b.peer()).await {
            Ok(peer) if peer.why.as_deref().is_some_and(|why| why.contains("goes on")) => {
                Err(format!("{:?}", peer.why))
            }
            Ok(peer) => Ok(peer),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
}

/// Bytes that have crossed the lines of all relays.
fn carried(lab: &mut Lab, relays: &[Node]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for relay in relays {
        sum += lab.cable(&relay.user.machine)?.count()?.delivered_bytes();
    }
    Ok(sum)
}

/// Fetches a model without anybody's leave to carry it over a relay.
async fn bulk(
    setting: &Setting,
    lab: &mut Lab,
    relays: &[Node],
    a: &Node,
    b: &Node,
) -> anyhow::Result<Bulk> {
    let (file, id) = setting.share_small(b, BULK).await?;
    let before = carried(lab, relays)?;
    let from = ["--from", b.peer(), "--provider-timeout", "20s"];
    let fetched = stage::fetch(a, &id, &from).await?;
    let over_relay = carried(lab, relays)? - before;
    let mut circuits = 0;
    for relay in relays {
        circuits += view::metric(lab, &relay.user.machine, CIRCUITS)?;
    }
    Ok(Bulk {
        fetched: stage::is_same(&fetched, &file)?,
        words: fetched.stderr,
        over_relay,
        circuits,
    })
}

/// What a relay says it carried for others.
const CIRCUITS: &str = "hive_relay_relayed_bytes_total";

impl Cell {
    fn n_direct(&self) -> usize {
        self.tries.iter().flatten().filter(|tried| tried.direct.is_some()).count()
    }

    fn median(&self) -> Option<f64> {
        let mut times: Vec<f64> =
            self.tries.iter().flatten().filter_map(|tried| tried.direct).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// Whether enough of the tries were what they had to be.
    fn holds(&self) -> bool {
        let n = self.tries.len();
        if self.a.can_meet(self.b) {
            return self.n_direct() + n / ONE_IN >= n;
        }
        self.tries.iter().all(|tried| {
            tried.as_ref().is_ok_and(|tried| {
                let says_why = tried.last.why.as_deref().is_some_and(|why| !why.is_empty());
                tried.last.path.as_deref() == Some("relayed") && says_why
            })
        })
    }

    /// Whether the model came across when it could, and not over the relay in any case.
    fn bulk_holds(&self) -> bool {
        let mut bulks =
            self.tries.iter().flatten().filter_map(|tried| tried.bulk.as_ref()).peekable();
        // What was not tried did not hold.
        bulks.peek().is_some()
            && bulks.all(|bulk| {
                let told = bulk.fetched || bulk.words.contains("--relay-bulk");
                let meets = self.a.can_meet(self.b);
                // Who cannot meet talked over a relay: a figure of nothing would be a wrong one.
                let counts = bulk.circuits < SIGNALLING && (meets || bulk.circuits > 0);
                told && bulk.fetched == meets && bulk.over_relay < SIGNALLING && counts
            })
    }

    fn brief(&self) -> String {
        match (self.n_direct(), self.median()) {
            _ if self.tries.iter().all(Result::is_err) => "failed".to_owned(),
            (0, _) => format!("relayed 0/{}", self.tries.len()),
            (n, Some(time)) => format!("direct {n}/{}, {time:.1} s", self.tries.len()),
            (n, None) => format!("direct {n}/{}", self.tries.len()),
        }
    }

    /// Why it is not direct, in hive's words, or why a try failed.
    fn why(&self) -> String {
        let not_direct = |tried: &&Result<Try, String>| {
            tried.as_ref().map_or(true, |tried| tried.direct.is_none())
        };
        match self.tries.iter().find(not_direct) {
            None => String::new(),
            Some(Err(error)) => error.lines().next().unwrap_or_default().to_owned(),
            Some(Ok(tried)) => {
                let path = tried.last.path.as_deref().unwrap_or("no connection");
                format!("{path}: {}", tried.last.why.as_deref().unwrap_or("no reason given"))
            }
        }
    }

    fn line(&self) -> String {
        let word = if self.holds() && self.bulk_holds() { "holds" } else { "FAILS" };
        let (a, b, over) = (self.a, self.b, self.transport.name());
        format!("{word} {over} {a} × {b}: {} {}", self.brief(), self.why())
    }
}

fn report(cells: &[Cell]) -> String {
    let mut text = String::new();
    for transport in Transport::ALL {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.transport == transport).collect();
        if cells.is_empty() {
            continue;
        }
        let mut table = Table::new([transport.name(), "none", "cone", "remap", "symmetric"]);
        for a in Kind::ALL {
            let of = |b| {
                let cell = cells.iter().find(|cell| (cell.a, cell.b) == (a, b));
                cell.map_or_else(|| "-".to_owned(), |cell| cell.brief())
            };
            let [none, cone, remap, symmetric] = Kind::ALL.map(of);
            table.row([a.to_string(), none, cone, remap, symmetric]);
        }
        text += &table.to_string();
        text.push('\n');
    }
    let mut table = Table::new(["pair", "over", "path", "model", "over the relay", "why"]);
    for cell in cells {
        let bulk = cell.tries.iter().flatten().find_map(|tried| tried.bulk.as_ref());
        let model = match bulk {
            Some(bulk) if bulk.fetched => "fetched",
            Some(_) => "refused",
            None => "-",
        };
        let over = bulk.map_or_else(|| "-".to_owned(), |bulk| format!("{} B", bulk.over_relay));
        table.row([
            format!("{} × {}", cell.a, cell.b),
            cell.transport.name().to_owned(),
            cell.brief(),
            model.to_owned(),
            over,
            cell.why(),
        ]);
    }
    text.push_str(&table.to_string());
    text
}

fn judge(cells: &[Cell]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut note =
        |promise: &str, wanted: &dyn Fn(&&Cell) -> bool, holds: &dyn Fn(&Cell) -> bool| {
            let wanted: Vec<&Cell> = cells.iter().filter(wanted).collect();
            let good = wanted.iter().filter(|cell| holds(cell)).count();
            if !wanted.is_empty() {
                verdict.note(
                    good == wanted.len(),
                    promise,
                    format!("{good} of {} cells", wanted.len()),
                );
            }
        };
    let can = |cell: &&Cell| cell.a.can_meet(cell.b);
    note("a pair that can meet is direct within 15 s in 19 of 20 tries", &can, &Cell::holds);
    note("a pair that cannot is relayed and says why", &|cell| !can(cell), &Cell::holds);
    note("a model crosses a direct path, never the relay", &|_| true, &Cell::bulk_holds);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(a: Kind, b: Kind, n_direct: usize, n: usize) -> Cell {
        let tried = |number| {
            let fetched = a.can_meet(b);
            let words = "hint: --relay-bulk".to_owned();
            let bulk = Some(Bulk { fetched, words, over_relay: 5000, circuits: 900 });
            let direct = (number < n_direct).then_some(1.5);
            let path = if direct.is_some() { "direct" } else { "relayed" };
            let (path, why) = (Some(path.to_owned()), Some("for a reason".to_owned()));
            Ok(Try { direct, last: Peer { path, why, ..Peer::default() }, bulk })
        };
        Cell { a, b, transport: Transport::Tcp, tries: (0..n).map(tried).collect() }
    }

    #[test]
    fn one_of_twenty_tries_may_fail() {
        let holds = |n_direct, n| cell(Kind::Cone, Kind::Remap, n_direct, n).holds();
        assert!(holds(20, 20) && holds(19, 20) && holds(1, 1));
        assert!(!holds(18, 20) && !holds(0, 1) && !holds(18, 19));
    }

    #[test]
    fn a_pair_that_cannot_meet_has_to_say_why() {
        let mut silent = cell(Kind::Symmetric, Kind::Cone, 0, 1);
        assert!(silent.holds());
        for tried in silent.tries.iter_mut().flatten() {
            tried.last.why = None;
        }
        assert!(!silent.holds());
    }

    #[test]
    fn bytes_over_the_relay_fail_a_cell() {
        let mut leaky = cell(Kind::Cone, Kind::Cone, 1, 1);
        assert!(leaky.bulk_holds());
        for tried in leaky.tries.iter_mut().flatten() {
            tried.bulk = tried.bulk.take().map(|bulk| Bulk { over_relay: BULK, ..bulk });
        }
        assert!(!leaky.bulk_holds());
        assert!(!judge(&[leaky]).held());
    }

    #[test]
    fn a_cell_whose_tries_could_not_be_made_holds_nothing() {
        let mut broken = cell(Kind::None, Kind::None, 1, 1);
        assert!(judge(&[cell(Kind::None, Kind::None, 1, 1)]).held());
        broken.tries = vec![Err("no relay".to_owned())];
        assert!(!broken.holds() && !broken.bulk_holds());
        assert_eq!((broken.brief(), broken.why()), ("failed".to_owned(), "no relay".to_owned()));
    }
}
