//! Generates text with a model and says what it cost: `generate MODEL PROMPT [TOKENS]`.
//!
//! The text goes to stdout, one line of JSON with speed and memory to stderr. Greedy, so that two
//! runs do the same work.

use std::fs::File;
use std::io::Write;

use hive_api::{Engine, EngineOptions, GenerateRequest, Output, Sampling};
use hive_inference::Llama;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: generate MODEL PROMPT [TOKENS]";
    let (model, prompt) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let max_tokens = arguments.next().map_or(Ok(64), |n| n.parse())?;

    let mut llama = Llama::load(File::open(model)?, &EngineOptions::default())?;
    let loaded = cpu_seconds();
    let request = GenerateRequest {
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateRequest::new(prompt.as_str())
    };
    llama.begin(1, request)?;
    let mut out = std::io::stdout();
    let mut first = None;
    let mut outputs = Vec::new();
    let generated = 'text: loop {
        llama.step(&mut outputs);
        for (_, output) in outputs.drain(..) {
            match output {
                Output::Piece(piece) => {
                    first.get_or_insert_with(cpu_seconds);
                    write!(out, "{}", piece.text)?;
                    out.flush()?;
                }
                Output::Done(generated) => break 'text generated,
                Output::Failed(failure) => return Err(failure.into()),
                Output::ToolCall(_) => {}
            }
        }
    };
    let ended = cpu_seconds();
    writeln!(out)?;
    let first = first.unwrap_or(ended);
    let n_decoded = f64::from(generated.generated_tokens.saturating_sub(1));
    writeln!(
        std::io::stderr(),
        "{{\"prompt_tokens\":{},\"generated_tokens\":{},\"prompt_seconds\":{:.3},\
         \"generate_seconds\":{:.3},\"tokens_per_second\":{:.2},\"load_cpu_seconds\":{loaded:.2},\
         \"prompt_cpu_seconds\":{:.2},\"tokens_per_cpu_second\":{:.2},\"peak_mib\":{:.0}}}",
        generated.prompt_tokens,
        generated.generated_tokens,
        generated.prompt_seconds,
        generated.generate_seconds,
        n_decoded / generated.generate_seconds,
        first - loaded,
        n_decoded / (ended - first),
        peak_mib(),
    )?;
    Ok(())
}

/// Seconds that all threads of this process have computed, in hundredths; 0 where /proc is not.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything, so fields are counted from behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The most memory that this process has held, in MiB; 0 where /proc is not.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
