//! A model hub on this machine, for trying `hive add hf:…` without the internet.
//!
//! ```text
//! cargo run -p hive-hub --example hub -- DIR PORT      # DIR/<owner>/<repo>/<files>
//! HF_ENDPOINT=http://127.0.0.1:PORT hive add hf:<owner>/<repo>
//! ```
//!
//! Keeps the files in memory, and serves nobody but this machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use hive_hub::testing::TestHub;

#[expect(clippy::print_stderr, reason = "it is what an example does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: hub DIR PORT";
    let dir = PathBuf::from(args.next().ok_or(usage)?);
    let port: u16 = args.next().and_then(|port| port.into_string().ok()).ok_or(usage)?.parse()?;
    let hub = TestHub::start_on(SocketAddr::from(([127, 0, 0, 1], port)))?;
    hub.put_dir(&dir)?;
    eprintln!("serving {} at {} (Ctrl-C ends it)", dir.display(), hub.url());
    loop {
        std::thread::park();
    }
}
