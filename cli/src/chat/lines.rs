//! Where a chat's lines come from: a terminal with editing and history, or a test.
//!
//! The editor blocks, so it has a thread of its own. Nobody joins it: a thread that waits for a key
//! would hold up the end of the program. What it did to the terminal is undone when the owner goes.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::oneshot;

use super::transcript::ensure_private;

/// Lines of history that are kept.
const HISTORY: usize = 1000;

/// Requests that may wait for the editor: one line is asked for at a time, and a message that was
/// said is kept before the next is typed.
const REQUESTS: usize = 4;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of the input.
    End,
}

/// A source of lines.
pub(crate) trait Lines {
    /// The next line, asked for with a prompt. Cancel safe: what is typed meanwhile comes the next
    /// time.
    async fn next(&mut self, prompt: &str) -> io::Result<Line>;
    /// Keeps a message for the arrow keys of this time and the next.
    fn remember(&mut self, text: &str);
}

enum Request {
    Next(String, oneshot::Sender<io::Result<Line>>),
    Remember(String),
}

/// The terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    requests: mpsc::SyncSender<Request>,
    /// A line that was asked for and did not come yet.
    pending: Option<oneshot::Receiver<io::Result<Line>>>,
    _mode: Mode,
}

impl Terminal {
    /// Takes the terminal; with a file, history is kept there.
    pub(crate) fn open(history: Option<PathBuf>) -> io::Result<Self> {
        let mode = Mode::keep();
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(io::Error::other)?
            .history_ignore_space(true)
            .build();
        let mut editor =
            Editor::<(), FileHistory>::with_config(config).map_err(io::Error::other)?;
        if let Some(file) = &history {
            ensure_private(file)?;
            // A history that cannot be read is one that begins anew.
            let _ = editor.load_history(file);
        }
        let (requests, inbox) = mpsc::sync_channel(REQUESTS);
        std::thread::Builder::new()
            .name("prompt".into())
            .spawn(move || edit(editor, &inbox, history.as_deref()))?;
        Ok(Self { requests, pending: None, _mode: mode })
    }
}

impl Lines for Terminal {
    async fn next(&mut self, prompt: &str) -> io::Result<Line> {
        let gone = || io::Error::other("the thread that reads the terminal ended");
        if self.pending.is_none() {
            let (answer, line) = oneshot::channel();
            self.requests.send(Request::Next(prompt.to_owned(), answer)).map_err(|_| gone())?;
            self.pending = Some(line);
        }
        let Some(line) = &mut self.pending else { return Err(gone()) };
        let line = line.await;
        self.pending = None;
        line.map_err(|_| gone())?
    }

    fn remember(&mut self, text: &str) {
        // Without the thread the next line fails, and says so.
        let _ = self.requests.send(Request::Remember(text.to_owned()));
    }
}

fn edit(
    mut editor: Editor<(), FileHistory>,
    inbox: &mpsc::Receiver<Request>,
    history: Option<&std::path::Path>,
) {
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Next(prompt, answer) => {
                let line = match editor.readline(&prompt) {
                    Ok(text) => Ok(Line::Text(text)),
                    Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Line::End),
                    Err(ReadlineError::Io(error)) => Err(error),
                    Err(error) => Err(io::Error::other(error)),
                };
                // Whoever asked may be gone; then so is the chat.
                let _ = answer.send(line);
            }
            Request::Remember(text) => {
                // A full disk costs the history and not the chat.
                let _ = editor.add_history_entry(text);
                if let Some(file) = history {
                    let _ = editor.append_history(file);
                }
            }
        }
    }
}

/// The terminal's mode as it was. The editor changes it while it waits for a key, and a program that
/// ends meanwhile (`SIGTERM`) would leave a shell that shows nothing of what is typed.
#[derive(Debug)]
struct Mode {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Mode {
    fn keep() -> Self {
        Self {
            #[cfg(unix)]
            before: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let now = rustix::termios::OptionalActions::Now;
            // A terminal that is gone needs no mode.
            let _ = rustix::termios::tcsetattr(io::stdin(), now, before);
        }
    }
}
