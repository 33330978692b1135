//! Makes a smaller model in a process of its own, which ends with the job.

use std::fs::File;
use std::path::PathBuf;

use hive_api::{Failure, FailureKind, Quantization};

use crate::backend::{Input, Limits, Program};
use crate::ending::Ending;
use crate::frame::FrameError;
use crate::message::{Job, Report};
use crate::process::{self, Started};

/// Writes a smaller model to a file that is open for writing and at a place. Tells how many weights
/// are done of how many. Dropping the future ends the work; what is written so far stays.
///
/// # Errors
///
/// The program cannot be started, the model cannot be read or made smaller, the disk is full, or
/// the program crashed or said nothing for too long.
pub async fn quantize(
    program: &Program,
    inputs: Vec<Input>,
    to: Quantization,
    result: (File, PathBuf),
    limits: Limits,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(), Failure> {
    let job = Job::Quantize(to);
    let started = process::start(program, job, inputs, Some(result), limits.memory).await?;
    // The pipe for orders stays open: its end would end the process.
    let Started { mut reader, writer: _writer, mut life } = started;
    let crashed = |message| Err(Failure { kind: FailureKind::Crashed, message });
    loop {
        match tokio::time::timeout(limits.stall, reader.next()).await {
            Ok(Ok(Some((_, Report::Progress { done, total })))) => progress(done, total),
            Ok(Ok(Some((_, Report::Beat)))) => {}
            Ok(Ok(Some((_, Report::Quantized)))) => {
                life.kill().await;
                return Ok(());
            }
            Ok(Ok(Some((_, Report::Failed(failure))))) => {
                life.kill().await;
                return Err(failure);
            }
            Ok(Ok(None) | Err(FrameError::Pipe(_))) => {
                return crashed(Ending::exited(life.exit().await).message);
            }
            Ok(Ok(Some(_))) => {
                life.kill().await;
                return crashed("the process said a word of another job".to_owned());
            }
            Ok(Err(error)) => {
                life.kill().await;
                return crashed(format!("the process said what makes no sense ({error})"));
            }
            Err(_) => {
                life.kill().await;
                let seconds = limits.stall.as_secs_f64();
                return crashed(format!("the process worked for {seconds} seconds without a word"));
            }
        }
    }
}
