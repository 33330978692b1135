//! The section of the document: every figure comes from a run, the words stand here.

use std::fmt::Write as _;
use std::path::Path;

use super::live::{Outcome, PerMinute, SEED_LINE};
use super::model::{Costs, announcements};
use super::virtual_time;
use crate::goals::{self, Goal};

const MIB: f64 = (1 << 20) as f64;
const KIB: f64 = 1024.0;

/// The section, as Markdown.
pub(crate) fn section(
    seed: u64,
    sim: &virtual_time::Outcome,
    networks: &[Outcome],
    costs: &Costs,
    images: &Path,
) -> String {
    let mut text = String::new();
    let mut say = |part: std::fmt::Arguments<'_>| {
        text.write_fmt(part).expect("a text takes whatever is written");
    };
    let report = &sim.report;
    let hours = report.time.as_secs_f64() / 3600.0;
    say(format_args!(
        "**Simulated**: {} nodes, {hours:.0} hours of virtual time, seed {seed}, trace `{:016x}`; {} events in {:.0} s of one core. \
         Planner, roster, search, upload slots and the pace of announcements are those of the product; \
         homes, lines, routers, liars, the DHT's records and the mesh are a model (`testnet/sim`). 300 nodes ran twice from one seed with one trace, and once from another with another.\n\n",
        report.nodes, report.trace, report.events, sim.cpu,
    ));
    say(format_args!("{}\n", goals::table(&simulated(sim))));
    say(format_args!(
        "\n{:.0} nodes were online in the mean, {} sessions began. Of {} fetches {} completed, {} failed although somebody honest could be asked, \
         {} of those because nothing had come for a minute when their user left or the simulation ended; \
         {} ended because their user left while they went on, which is no failure, {} because nobody honest who had the rest was online, {} because those who were could not be met \
         through two routers, and {} were going on at the end. Those that completed are {:.2} % of all that ended, for whatever reason. \
         Half of those that completed at one go took under {:.0} s, nine of ten under {:.1} × the ideal. \
         {:.1} GiB were verified, {:.1} GiB were cut off in the middle of a group that was taken away or whose reader or sender went, {:.1} GiB forged; {} of {} liars were banned by somebody ({} bans), honest nodes {} times. A liar cost the fetch that met it {:.2} MiB. \
         {} lists were followed; of the worst {:.2} % of the nodes online had it within a minute, and 99 % had one after {:.1} s in the mean. {} lookups were counted.\n\n",
        report.online,
        report.sessions,
        report.fetches,
        report.completed,
        report.failed,
        report.stalled,
        report.left,
        report.nobody,
        report.unreachable,
        report.running,
        report.completion_of_ended() * 100.0,
        report.seconds,
        report.stretch_p90,
        report.bytes as f64 / MIB / KIB,
        report.cut as f64 / MIB / KIB,
        report.forged as f64 / MIB / KIB,
        report.liars_banned,
        report.liars,
        report.bans,
        report.bans_of_honest,
        report.cost_of_liar / MIB,
        report.floods,
        report.reach_worst * 100.0,
        report.reach_secs,
        report.lookups,
    ));
    if networks.is_empty() {
        return text;
    }
    say(format_args!(
        "**Live**: real nodes in one process on the loopback, one of which has the model that all others fetch at once, over a line of {} Mbit/s each way. Sent by a node in a minute while nobody does anything, half a minute after all knew each other, before encryption. Of the fetches those count that end within four minutes; seconds are those of a machine that runs all nodes and the simulation at once:\n\n",
        SEED_LINE * 8 / 1_000_000,
    ));
    say(format_args!(
        "| nodes | all know each other, s | memory each, MiB | CPU each, ms a minute | DHT | DHT to join, KiB | gossip | all else | fetched by | in, s | first one's upload | memory each at the peak, MiB |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    ));
    let sent =
        |sent: PerMinute| format!("{:.0} messages, {:.1} KiB", sent.messages, sent.bytes / KIB);
    for network in networks {
        say(format_args!(
            "| {} | {:.1} | {:.1} | {:.0} | {} | {:.1} | {} | {} | {} of {} | {:.1} | {:.2} × the model | {:.1} |\n",
            network.nodes,
            network.join_seconds,
            network.memory as f64 / MIB,
            network.cpu * 1e3,
            sent(network.dht),
            network.dht_join / KIB,
            sent(network.gossip),
            sent(network.other),
            network.completed,
            network.readers,
            network.fetch_seconds,
            network.seeder,
            network.peak as f64 / MIB,
        ));
    }
    say(format_args!("\n{}\n\n", goals::table(&live(networks))));
    let largest = networks.iter().map(|network| network.nodes).max().unwrap_or(0);
    say(format_args!(
        "**Beyond {largest} nodes there is only a model**, a line of least squares through the points above. \
         Gossip: {:.0} + {:.1} × announcements a minute, in bytes; *n* nodes that stay make 2 *n* ÷ their interval in minutes. \
         DHT: {:.0} + {:.0} × log₂(*n* ÷ 20), in bytes, for the buckets of a table; a table is refreshed every five minutes, which the watched minute does not contain, so a fifth of what joining took is counted with it, in the points too. Homes that come and go announce more: the simulation counts {:.0} announcements of {} nodes a minute, a head and a capability each, and {:.1} copies of each at a node.\n\n",
        costs.gossip.fixed,
        costs.gossip.slope,
        costs.dht.fixed,
        costs.dht.slope,
        report.announcements_per_minute(),
        report.nodes,
        report.copies,
    ));
    say(format_args!(
        "| nodes | announcements a minute | gossip, KiB a minute (model) | DHT, KiB a minute (model) |\n|---|---|---|---|\n"
    ));
    for n in [100.0, 300.0, 1_000.0, 3_000.0, 10_000.0] {
        say(format_args!(
            "| {n} | {:.0} | {:.1} | {:.1} |\n",
            announcements(n),
            costs.gossip(n) / KIB,
            costs.dht(n) / KIB,
        ));
    }
    for (name, what) in [("scale-gossip.svg", "gossip"), ("scale-dht.svg", "DHT")] {
        say(format_args!("\n![Cost of {what} for a node]({}/{name})\n", images.display()));
    }
    text
}

/// What is wanted of the live networks. Who saves uploads by not finishing has met nothing.
fn live(networks: &[Outcome]) -> Vec<Goal> {
    let least = networks.iter().map(Outcome::completion).reduce(f64::min);
    let all_completed = networks.iter().all(|network| network.completed == network.readers);
    let most = networks.iter().map(|network| network.seeder).reduce(f64::max);
    let most = most.filter(|_| all_completed);
    vec![
        Goal::at_least(
            "fetches that complete, % of the readers, where the fewest do",
            100.0,
            least,
        ),
        Goal::at_most("the first one's upload, × the model, when all completed", 3.0, most),
    ]
}

fn simulated(sim: &virtual_time::Outcome) -> Vec<Goal> {
    let report = &sim.report;
    let percent = |share: f64| Some(share * 100.0);
    let completion = percent(report.completion());
    let reach = percent(report.reach);
    let lookups = percent(report.lookup_success());
    let duplicates = percent(report.duplicates());
    vec![
        Goal::at_least("fetches that complete, %", 99.9, completion).digits(3),
        Goal::at_most("time over the ideal, median", 1.5, Some(report.stretch)),
        Goal::at_least("a new list within a minute, % of the nodes online", 99.0, reach).digits(3),
        Goal::at_least(
            "lookups in the DHT that find somebody honest who is there, %",
            99.0,
            lookups,
        )
        .digits(3),
        Goal::at_most(
            "bytes that came although another had brought their group first, %",
            1.0,
            duplicates,
        )
        .digits(3),
        Goal::at_most("bans of honest nodes", 0.0, Some(report.bans_of_honest as f64)).digits(0),
        Goal::at_most("memory for each node, KiB", 200.0, Some(sim.memory as f64 / KIB)).digits(1),
        Goal::at_most("processor time, s of one core", 600.0, Some(sim.cpu)).digits(0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(completed: usize, seeder: f64) -> Outcome {
        let sent = PerMinute::default();
        Outcome {
            nodes: 11,
            join_seconds: 1.0,
            memory: 1,
            cpu: 0.0,
            dht: sent,
            dht_join: 0.0,
            gossip: sent,
            other: sent,
            readers: 9,
            completed,
            fetch_seconds: 1.0,
            seeder,
            peak: 1,
        }
    }

    #[test]
    fn a_small_upload_is_no_merit_where_a_reader_did_not_complete() {
        let met = |networks: &[Outcome]| -> Vec<bool> {
            live(networks).iter().map(Goal::is_met).collect()
        };
        assert_eq!(met(&[network(9, 2.0), network(9, 2.9)]), [true, true]);
        assert_eq!(met(&[network(9, 2.0), network(9, 3.1)]), [true, false]);
        assert_eq!(met(&[network(9, 2.0), network(8, 0.5)]), [false, false]);
        assert_eq!(met(&[network(0, 0.0)]), [false, false]);
    }
}
