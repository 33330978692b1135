//! The program `hive-natlab`; everything is in the library beside it.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    hive_natlab::main()
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    eprintln!("the lab is made of network namespaces, which only Linux has");
    ExitCode::FAILURE
}
