//! Logs and figures: where they go, how much of them, in what form.
//!
//! The rest of hive says what happens with `tracing`; here alone is decided what becomes of it.
//! Owns the process' subscriber. Writes whole lines, so that a terminal's progress bars can step
//! aside for each.
//!
//! Secrets (keys, tokens, prompts) never get here: types that hold one have a `Debug` that hides it.

pub mod metrics;

use std::fmt;
use std::io;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Takes a finished line, with its line feed.
pub type Sink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What to log.
#[derive(Clone)]
pub struct Options {
    /// Which events, in the language of `tracing_subscriber::EnvFilter`: `info`,
    /// `warn,hive_swarm=debug`, …
    pub filter: String,
    /// A JSON object a line instead of text for people.
    pub json: bool,
    /// Colours, where the sink shows them.
    pub color: bool,
    /// Where lines go; stderr if `None`.
    pub sink: Option<Sink>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("filter", &self.filter).field("json", &self.json).finish()
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The filter is not one.
    #[error("`{filter}` is not a log filter")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("logging was started before")]
    Twice,
}

/// Starts logging, once per process.
pub fn init(options: Options) -> Result<(), InitError> {
    let Options { filter, json, color, sink } = options;
    let filter = EnvFilter::builder()
        .parse(&filter)
        .map_err(|source| InitError::Filter { filter: filter.clone(), source })?;
    let writer = LineWriter(sink.unwrap_or_else(|| Arc::new(to_stderr)));
    let layer = tracing_subscriber::fmt::layer().with_ansi(color).with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer.compact().with_target(false)).try_init()
    };
    started.map_err(|_| InitError::Twice)
}

fn to_stderr(line: &[u8]) {
    // Nobody is left to tell when stderr is gone.
    let _ = io::Write::write_all(&mut io::stderr().lock(), line);
}

/// Hands each event's text to the sink; the formatter writes an event with one call.
#[derive(Clone)]
struct LineWriter(Sink);

impl io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        (self.0)(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn options(filter: &str, sink: Option<Sink>) -> Options {
        Options { filter: filter.to_owned(), json: true, color: false, sink }
    }

    #[test]
    fn logs_reach_the_sink_by_lines_and_start_once() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink: Sink = {
            let lines = Arc::clone(&lines);
            Arc::new(move |line| lines.lock().unwrap().push(line.to_vec()))
        };
        let wrong = init(options("hive=loud=very", None));
        assert!(matches!(wrong, Err(InitError::Filter { .. })), "{wrong:?}");
        init(options("info", Some(sink))).unwrap();
        assert!(matches!(init(options("info", None)), Err(InitError::Twice)));

        tracing::info!(answer = 42, "heard");
        tracing::debug!("not heard");
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        let line = String::from_utf8(lines[0].clone()).unwrap();
        assert!(line.ends_with('\n') && line.contains("\"answer\":42"), "{line}");
    }
}
