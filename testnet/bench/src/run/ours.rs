//! hive's side of `run`, in a process of its own.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use hive_api::{Engine as _, EngineOptions, GenerateRequest, Generated, Output, Sampling};
use hive_inference::Llama;

use super::{Said, Took};
use crate::machine;

/// Continues a prompt by so many tokens, reads some long ones, and says what it took.
pub(crate) fn decode(
    model: &Path,
    tokens: u32,
    prompt: &str,
    long: &[String],
) -> anyhow::Result<()> {
    let mut llama = Llama::load(File::open(model)?, &EngineOptions::default())?;
    // As in llama.cpp: threads are awake, memory was touched, and the prompt is remembered.
    generate(&mut llama, prompt, 1)?;
    let cpu = machine::cpu_seconds();
    let (text, generated) = generate(&mut llama, prompt, tokens)?;
    let decoded = Took {
        tokens: f64::from(generated.generated_tokens),
        seconds: generated.prompt_seconds + generated.generate_seconds,
        cpu: machine::cpu_seconds() - cpu,
    };
    let mut read = Vec::new();
    for prompt in long {
        let (cpu, start) = (machine::cpu_seconds(), Instant::now());
        let (_, generated) = generate(&mut llama, prompt, 1)?;
        read.push(Took {
            tokens: f64::from(generated.prompt_tokens - generated.cached_tokens),
            seconds: start.elapsed().as_secs_f64(),
            cpu: machine::cpu_seconds() - cpu,
        });
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let said = Said { version, text, decoded, read, peak: machine::peak_memory() };
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

fn generate(llama: &mut Llama, prompt: &str, tokens: u32) -> anyhow::Result<(String, Generated)> {
    let request = GenerateRequest {
        max_tokens: Some(tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateRequest::new(prompt)
    };
    llama.begin(1, request)?;
    let (mut text, mut outputs) = (String::new(), Vec::new());
    loop {
        llama.step(&mut outputs);
        for (_, output) in outputs.drain(..) {
            match output {
                Output::Piece(piece) => text.push_str(&piece.text),
                Output::Done(generated) => return Ok((text, generated)),
                Output::Failed(failure) => return Err(failure.into()),
                Output::ToolCall(_) => {}
            }
        }
    }
}
