//! Measures what serving costs: `serve MODEL`.
//!
//! Tokens a second of one text and of four at once, a prompt of some 500 tokens read and remembered,
//! and the first token of a process that has just begun. One line of JSON for each, to stdout.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use hive_api::{Engine, EngineOptions, GenerateRequest, Generated, Output, Part, Prompt, Sampling};

const TEXT: &str = "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, \
                    France. It is named after the engineer Gustave Eiffel. ";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let path = std::env::args().nth(1).ok_or("usage: serve MODEL")?;
    let part = Part { path: "model.gguf".to_owned(), file: File::open(path)?, gate: None };
    let options = EngineOptions { places: 8, ..EngineOptions::default() };
    let mut engine = hive_inference::load(vec![part], &options)?;
    let loaded = began.elapsed().as_secs_f64();
    run(&mut *engine, vec![request("The capital of France is", 1)])?;
    let first = began.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    writeln!(out, "{{\"loaded_seconds\":{loaded:.3},\"first_token_seconds\":{first:.3}}}")?;

    for n in [1, 2, 3, 4, 8, 1, 4, 8] {
        let prompts = ["Once upon a time", "In the year 1887", "The sea is", "Bees live in"];
        let prompts = prompts.iter().cycle().take(n);
        let requests = prompts.map(|prompt| request(prompt, 96)).collect();
        let ended = run(&mut *engine, requests)?;
        let tokens: u32 = ended.iter().map(|generated| generated.generated_tokens).sum();
        let seconds = ended.iter().map(|generated| generated.generate_seconds).fold(0.0, f64::max);
        writeln!(
            out,
            "{{\"texts\":{n},\"tokens\":{tokens},\"tokens_per_second\":{:.1}}}",
            f64::from(tokens) / seconds
        )?;
    }
    for _ in 0..2 {
        let generated = run(&mut *engine, vec![request(&TEXT.repeat(18), 1)])?.remove(0);
        writeln!(
            out,
            "{{\"prompt_tokens\":{},\"cached_tokens\":{},\"prompt_seconds\":{:.4}}}",
            generated.prompt_tokens, generated.cached_tokens, generated.prompt_seconds
        )?;
    }
    Ok(())
}

fn request(prompt: &str, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateRequest::new(Prompt::from(prompt))
    }
}

/// Works at all of them together until they have ended.
fn run(
    engine: &mut dyn Engine,
    requests: Vec<GenerateRequest>,
) -> Result<Vec<Generated>, Box<dyn std::error::Error>> {
    let n = requests.len();
    for (ticket, request) in (0..).zip(requests) {
        engine.begin(ticket, request)?;
    }
    let (mut ended, mut outputs) = (Vec::new(), Vec::new());
    while ended.len() < n {
        engine.step(&mut outputs);
        for (_, output) in outputs.drain(..) {
            match output {
                Output::Done(generated) => ended.push(generated),
                Output::Failed(failure) => return Err(failure.into()),
                Output::Piece(_) | Output::ToolCall(_) => {}
            }
        }
    }
    Ok(ended)
}
