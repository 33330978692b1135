//! `GET /metrics`: what this node knows of itself, as figures.
//!
//! Every count is kept by whoever does the thing; here it is only read and given its name. Names
//! are promises to dashboards.

use std::sync::atomic::Ordering::Relaxed;

use hive_api::{Reachability, Result, Status};
use hive_telemetry::metrics::{Figure, Value};

use crate::engines::figures::{BOUNDS, Figures, Histogram};
use crate::local::Local;

impl Local {
    /// All figures, as text for Prometheus.
    pub(crate) async fn figures_text(&self) -> Result<String> {
        let status = self.node_status().await?;
        let unverified = status.fetches.iter().map(|fetch| fetch.size.saturating_sub(fetch.bytes));
        let mut figures = vec![
            seconds("uptime", "Time since the node started.", gauge(status.uptime as u64)),
            plain("peers", "Peers that are connected.", gauge(status.connected)),
            plain("models", "Models in the store.", gauge(status.models)),
            plain("fetches", "Fetches that are going on.", gauge(status.fetches.len() as u64)),
            bytes("fetch_missing", "What running fetches lack.", gauge(unverified.sum())),
            bytes("store", "What the store takes on disk.", gauge(status.disk_used)),
            bytes("store_free", "What fetches may still take.", gauge(status.disk_free)),
            bytes("uploaded", "Sent to peers.", Value::Counter(status.uploaded)),
            bytes(
                "downloaded",
                "Came from peers and was verified.",
                Value::Counter(self.downloaded.load(Relaxed)),
            ),
        ];
        figures.extend(of_network(&status));
        figures.extend(of_engines(&self.engines.figures()));
        Ok(self.metrics.text(env!("CARGO_PKG_VERSION"), figures))
    }
}

fn of_network(status: &Status) -> Vec<Figure> {
    let direct = status.reachability == Reachability::Direct;
    let reserved = status.relays.iter().filter(|relay| relay.reserved).count() as u64;
    let mut figures = vec![
        plain("reachable", "Whether others get in directly.", gauge(u64::from(direct))),
        plain("relays_reserved", "Relays that let others reach this node.", gauge(reserved)),
        plain("dht_peers", "Peers in the routing table.", gauge(status.dht.peers)),
    ];
    let Some(relay) = &status.relay else { return figures };
    let rows = relay.refused.iter().map(|(why, n)| (why.clone(), *n)).collect();
    figures.extend([
        plain(
            "relay_reservations",
            "Peers reachable through this relay.",
            gauge(relay.reservations),
        ),
        plain("relay_circuits", "Circuits that are open.", gauge(relay.circuits)),
        bytes("relay_relayed", "What went through circuits.", Value::Counter(relay.bytes)),
        plain("relay_over_budget", "Peers and networks over budget.", gauge(relay.over_budget)),
        plain(
            "relay_refused",
            "Reservations and circuits that were refused.",
            Value::Counters { label: "reason", rows },
        ),
    ]);
    figures
}

fn of_engines(engines: &Figures) -> Vec<Figure> {
    let count = |name, help, count| plain(name, help, Value::Counter(count));
    vec![
        plain("models_loaded", "Models that are loaded.", gauge(engines.loaded)),
        plain("requests_active", "Requests that models work at.", gauge(engines.active)),
        plain("requests_queued", "Requests that wait for a model.", gauge(engines.queued)),
        count("generate_requests", "Requests to continue a text.", engines.requests),
        count("embed_requests", "Requests for vectors.", engines.embeds),
        count("requests_refused", "Requests that found the queue full.", engines.refused),
        count("requests_failed", "Requests that ended with an error.", engines.failed),
        count("requests_cancelled", "Texts whose reader left.", engines.cancelled),
        count("prompt_tokens", "Tokens of prompts.", engines.prompt_tokens),
        count("cached_tokens", "Tokens of prompts that were remembered.", engines.cached_tokens),
        count("generated_tokens", "Tokens generated.", engines.generated_tokens),
        count("model_loads", "Models loaded.", engines.loads),
        count("model_crashes", "Processes of models that fell over.", engines.crashes),
        count("model_evictions", "Models unloaded for another.", engines.evictions),
        seconds("model_load", "Time that loading took.", histogram(&engines.load_seconds)),
        seconds(
            "first_text",
            "Time from a request to its first text.",
            histogram(&engines.first_text_seconds),
        ),
        plain(
            "tokens_per_second",
            "Speed of texts, their prompts left out.",
            histogram(&engines.tokens_per_second),
        ),
    ]
}

fn plain(name: &'static str, help: &'static str, value: Value) -> Figure {
    Figure { name, help, unit: None, value }
}

fn bytes(name: &'static str, help: &'static str, value: Value) -> Figure {
    Figure { unit: Some("bytes"), ..plain(name, help, value) }
}

fn seconds(name: &'static str, help: &'static str, value: Value) -> Figure {
    Figure { unit: Some("seconds"), ..plain(name, help, value) }
}

fn gauge(value: u64) -> Value {
    Value::Gauge(i64::try_from(value).unwrap_or(i64::MAX))
}

fn histogram(histogram: &Histogram) -> Value {
    let ends = BOUNDS.into_iter().chain([f64::INFINITY]);
    Value::Histogram { sum: histogram.sum, buckets: ends.zip(histogram.counts).collect() }
}

#[cfg(test)]
mod tests {
    use hive_api::RelayService;

    use super::*;

    #[test]
    fn a_relay_says_whom_it_refused_and_why() {
        let mut status = Status { reachability: Reachability::Direct, ..Status::default() };
        let text = |status: &Status| {
            hive_telemetry::metrics::Metrics::default().text("0", of_network(status))
        };
        assert!(!text(&status).contains("hive_relay_"));
        let refused = [("peer_bytes".to_owned(), 4)].into();
        status.relay = Some(RelayService { refused, bytes: 9, ..RelayService::default() });
        let text = text(&status);
        for line in [
            "hive_reachable 1",
            "hive_relay_relayed_bytes_total 9",
            "hive_relay_refused_total{reason=\"peer_bytes\"} 4",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_figure_of_the_engines_has_a_name_of_its_own() {
        let mut engines = Figures { prompt_tokens: 7, ..Figures::default() };
        engines.load_seconds.observe(0.3);
        let figures = of_engines(&engines);
        let mut names: Vec<_> = figures.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), figures.len());
        let text = hive_telemetry::metrics::Metrics::default().text("0", figures);
        assert!(text.contains("\nhive_prompt_tokens_total 7\n"), "{text}");
        assert!(text.contains("\nhive_model_load_seconds_bucket{le=\"0.5\"} 1\n"), "{text}");
        assert!(text.contains("\nhive_model_load_seconds_bucket{le=\"0.25\"} 0\n"), "{text}");
    }
}
