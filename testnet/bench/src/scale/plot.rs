//! Plots as SVG: both axes logarithmic, points for what was measured, a dashed line for a model.
//!
//! The colours follow the reader's light or dark; nothing is loaded from anywhere.

use std::fmt::Write as _;

use super::live::Outcome;
use super::model::Costs;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 64.0;
/// Nodes at both ends of the axis.
const NODES: (f64, f64) = (10.0, 10_000.0);

/// The picture of one cost.
struct Plot<'a> {
    title: &'a str,
    unit: &'a str,
    measured: Vec<(f64, f64)>,
    model: &'a dyn Fn(f64) -> f64,
    model_name: &'a str,
}

/// All plots, by the names of their files.
pub(crate) fn all(networks: &[Outcome], costs: &Costs) -> [(&'static str, String); 2] {
    let points = |bytes: fn(&Outcome) -> f64| -> Vec<(f64, f64)> {
        networks.iter().map(|network| (network.nodes as f64, bytes(network) / 1024.0)).collect()
    };
    let gossip = Plot {
        title: "Gossip that a node sends, as the network grows",
        unit: "KiB a minute",
        measured: points(|network| network.gossip.bytes),
        model: &|n| costs.gossip(n) / 1024.0,
        model_name: "model: fixed + slope × announcements a minute",
    };
    let dht = Plot {
        title: "DHT traffic that a node sends: idle, and joining ÷ 5 minutes",
        unit: "KiB a minute",
        measured: points(Outcome::dht_bytes),
        model: &|n| costs.dht(n) / 1024.0,
        model_name: "model: fixed + slope × log₂(nodes ÷ 20)",
    };
    [("scale-gossip.svg", gossip.svg()), ("scale-dht.svg", dht.svg())]
}

impl Plot<'_> {
    /// The powers of ten around all values.
    fn range(&self) -> (f64, f64) {
        let steps = (0..=30).map(|step| along(NODES, f64::from(step) / 30.0));
        let values =
            steps.map(|n| (self.model)(n)).chain(self.measured.iter().map(|point| point.1));
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            (least, most) = (least.min(value), most.max(value));
        }
        if !least.is_finite() {
            return (0.1, 10.0);
        }
        let (low, high) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil()));
        (low, if high > low { high } else { low * 10.0 })
    }

    fn svg(&self) -> String {
        let range = self.range();
        let x = |n: f64| LEFT + place(NODES, n) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - place(range, value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\" aria-label=\"{title}\">\n\
             <style>text{{fill:#24292f}}.grid{{stroke:#d0d7de}}.model{{stroke:#bc4c00;fill:none}}\
             .measured{{fill:#0969da}}.back{{fill:#ffffff}}\
             @media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.grid{{stroke:#30363d}}\
             .model{{stroke:#f0883e}}.measured{{fill:#58a6ff}}.back{{fill:#0d1117}}}}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>\n",
            title = self.title,
        );
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for n in [10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0] {
            let at = x(n);
            push(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{n}</text>",
                    bottom + 18.0
                ),
            );
        }
        let mut tick = range.0;
        while tick <= range.1 * 1.001 {
            let at = y(tick);
            push(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                    LEFT - 8.0,
                    at + 4.0
                ),
            );
            tick *= 10.0;
        }
        let middle = f64::midpoint(TOP, bottom);
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">nodes</text>",
                f64::midpoint(LEFT, right),
                bottom + 38.0
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<text x=\"18\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle:.1})\">{}</text>",
                self.unit
            ),
        );
        let steps = (0..=90).map(|step| along(NODES, f64::from(step) / 90.0));
        let line: Vec<String> =
            steps.map(|n| format!("{:.1},{:.1}", x(n), y((self.model)(n).max(range.0)))).collect();
        push(
            &mut svg,
            format_args!(
                "<polyline class=\"model\" stroke-width=\"2\" stroke-dasharray=\"6 5\" points=\"{}\"/>",
                line.join(" ")
            ),
        );
        for (n, value) in &self.measured {
            push(
                &mut svg,
                format_args!(
                    "<circle class=\"measured\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"/>",
                    x(*n),
                    y(value.max(range.0))
                ),
            );
        }
        let legend = HEIGHT - 10.0;
        push(
            &mut svg,
            format_args!(
                "<circle class=\"measured\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"/><text x=\"{:.1}\" y=\"{legend}\">measured</text>",
                LEFT + 6.0,
                legend - 4.0,
                LEFT + 18.0
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<line class=\"model\" stroke-width=\"2\" stroke-dasharray=\"6 5\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/><text x=\"{:.1}\" y=\"{legend}\">{}</text>",
                LEFT + 96.0,
                legend - 4.0,
                LEFT + 126.0,
                legend - 4.0,
                LEFT + 134.0,
                self.model_name
            ),
        );
        svg.push_str("</svg>\n");
        svg
    }
}

fn push(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a text takes whatever is written");
}

/// Where a value stands between two ends, both taken by their logarithm.
fn place(ends: (f64, f64), value: f64) -> f64 {
    (value.max(f64::MIN_POSITIVE) / ends.0).log10() / (ends.1 / ends.0).log10()
}

/// The value at a place between two ends.
fn along(ends: (f64, f64), place: f64) -> f64 {
    ends.0 * (ends.1 / ends.0).powf(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(measured: Vec<(f64, f64)>) -> String {
        let model = |n: f64| n / 10.0;
        Plot { title: "T", unit: "U", measured, model: &model, model_name: "model: M" }.svg()
    }

    #[test]
    fn measured_points_and_the_model_are_told_apart() {
        let svg = plot(vec![(10.0, 1.0), (100.0, 10.0)]);
        // Two points and one in the legend; one line and one in the legend.
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
        assert_eq!(svg.matches("stroke-dasharray").count(), 2, "{svg}");
        assert!(svg.contains(">measured<") && svg.contains(">model: M<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_plot_of_nothing_is_one_still() {
        let svg = Plot {
            title: "T",
            unit: "U",
            measured: vec![(10.0, 0.0)],
            model: &|_| 0.0,
            model_name: "M",
        }
        .svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
