//! Figures: what is counted of requests, and how all figures are written for Prometheus.
//!
//! [`Metrics`] counts the requests of the local API. What else a node knows of itself comes as
//! [`Figure`]s with each scrape, so that nobody keeps a second count of it. The text is that of
//! OpenMetrics 1.0, which Prometheus reads.
//!
//! Never has a label whose values a caller chooses: a figure's rows are as many as the API has
//! places and statuses.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Upper ends of the buckets, in seconds: from a list to the first word of a large model.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0];

/// What is counted of requests. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Family<Place, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> _);
        Self { requests: Family::default(), seconds }
    }
}

/// A place in the table of the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    method: String,
    route: String,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

/// Something that a node knows of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name without `hive_` and without `_total`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// `bytes`, `seconds`, …, which is put after the name.
    pub unit: Option<&'static str>,
    /// How much it is.
    pub value: Value,
}

/// How much something is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// It goes up and down.
    Gauge(i64),
    /// It goes up, from 0 when the node starts.
    Counter(u64),
    /// Several that go up, told apart by a label whose values the program knows beforehand.
    Counters {
        /// What tells them apart.
        label: &'static str,
        /// The label's value, and how much.
        rows: Vec<(String, u64)>,
    },
    /// How often values were in which range.
    Histogram {
        /// All values together.
        sum: f64,
        /// Upper ends of the ranges, and how many values are in each; the last is `f64::INFINITY`.
        buckets: Vec<(f64, u64)>,
    },
}

impl Metrics {
    /// Counts a request. `route` must be a place in the API's table, not what the caller wrote.
    pub fn count(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let (method, route) = (method.to_owned(), route.to_owned());
        let place = Place { method: method.clone(), route: route.clone() };
        self.seconds.get_or_create(&place).observe(seconds);
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// All figures as text.
    pub fn text(&self, version: &'static str, figures: Vec<Figure>) -> String {
        let mut registry = Registry::with_prefix("hive");
        registry.register("build", "The software", Info::new(vec![("version", version)]));
        registry.register(
            "http_requests",
            "Requests that the local API answered",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "http_answer",
            "Time until the answer to a request began",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_collector(Box::new(Scrape(figures)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes any text");
        text
    }
}

/// The figures of one scrape.
#[derive(Debug)]
struct Scrape(Vec<Figure>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for Figure { name, help, unit, value } in &self.0 {
            let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
            let kind = match value {
                Value::Gauge(_) => MetricType::Gauge,
                Value::Counter(_) | Value::Counters { .. } => MetricType::Counter,
                Value::Histogram { .. } => MetricType::Histogram,
            };
            value.encode(encoder.encode_descriptor(name, help, unit.as_ref(), kind)?)?;
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        match self {
            Self::Gauge(value) => ConstGauge::new(*value).encode(encoder),
            Self::Counter(value) => ConstCounter::new(*value).encode(encoder),
            Self::Counters { label, rows } => {
                for (name, value) in rows {
                    let row = [(*label, name.as_str())];
                    ConstCounter::new(*value).encode(encoder.encode_family(&row)?)?;
                }
                Ok(())
            }
            Self::Histogram { sum, buckets } => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.count("GET", "/v1/models", 200, 0.02);
        metrics.clone().count("GET", "/v1/models", 200, 0.5);
        let figure = |name, unit, value| Figure { name, help: "Some of them.", unit, value };
        let text = metrics.text(
            "1.2.3",
            vec![
                figure("peers", None, Value::Gauge(3)),
                figure(
                    "refused",
                    None,
                    Value::Counters {
                        label: "reason",
                        rows: vec![("full".to_owned(), 2), ("over".to_owned(), 3)],
                    },
                ),
                figure("uploaded", Some("bytes"), Value::Counter(1 << 40)),
                figure(
                    "load",
                    Some("seconds"),
                    Value::Histogram { sum: 7.5, buckets: vec![(1.0, 2), (f64::INFINITY, 1)] },
                ),
            ],
        );
        for line in [
            "hive_build_info{version=\"1.2.3\"} 1",
            "hive_http_requests_total{method=\"GET\",route=\"/v1/models\",status=\"200\"} 2",
            "hive_http_answer_seconds_count{method=\"GET\",route=\"/v1/models\"} 2",
            "hive_http_answer_seconds_bucket{le=\"0.025\",method=\"GET\",route=\"/v1/models\"} 1",
            "# HELP hive_peers Some of them.",
            "# TYPE hive_peers gauge",
            "hive_peers 3",
            "# TYPE hive_refused counter",
            "hive_refused_total{reason=\"full\"} 2",
            "hive_refused_total{reason=\"over\"} 3",
            "hive_uploaded_bytes_total 1099511627776",
            "hive_load_seconds_bucket{le=\"1.0\"} 2",
            "hive_load_seconds_bucket{le=\"+Inf\"} 3",
            "hive_load_seconds_sum 7.5",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
