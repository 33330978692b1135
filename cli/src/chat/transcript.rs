//! What was said in a chat, and its files.
//!
//! Files are made new and readable by their owner alone: what people tell a model is their own.
//! Nothing is dropped here unless somebody asks for it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use hive_api::{ErrorKind, HiveError, Message, Role};

use crate::failure::{unwritten, usage};

/// Bytes of a chat that is loaded at most; no context holds more.
const FILE_LEN: u64 = 8 << 20;

/// Messages in their order; a system message, if there is one, is the first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transcript {
    messages: Vec<Message>,
}

impl Transcript {
    /// Nothing said yet, to somebody in particular if `system` says who.
    pub(crate) fn new(system: Option<&str>) -> Self {
        let mut transcript = Self::default();
        transcript.set_system(system);
        transcript
    }

    /// All of it.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Messages that are not the system's.
    pub(crate) fn said(&self) -> usize {
        self.messages.len() - usize::from(self.system().is_some())
    }

    fn system(&self) -> Option<&str> {
        let first = self.messages.first()?;
        (first.role == Role::System).then_some(first.content.as_str())
    }

    /// Sets who the model is to be, or takes it away.
    pub(crate) fn set_system(&mut self, text: Option<&str>) {
        if self.system().is_some() {
            self.messages.remove(0);
        }
        if let Some(text) = text {
            self.messages.insert(0, Message::new(Role::System, text));
        }
    }

    /// Adds what somebody said.
    pub(crate) fn push(&mut self, role: Role, text: impl Into<String>) {
        self.messages.push(Message::new(role, text));
    }

    /// Forgets all but the system message.
    pub(crate) fn reset(&mut self) {
        self.messages.retain(|message| message.role == Role::System);
    }

    /// Takes back the last message if it is of that role.
    pub(crate) fn take_back(&mut self, role: Role) -> Option<Message> {
        self.messages.pop_if(|message| message.role == role)
    }

    /// Drops the oldest exchanges: each begins with the user. Says how many messages went.
    pub(crate) fn forget(&mut self, exchanges: usize) -> usize {
        let begin = usize::from(self.system().is_some());
        let starts = self.messages.iter().enumerate().skip(begin);
        let mut starts = starts.filter(|(_, message)| message.role == Role::User).map(|(at, _)| at);
        let end = starts.nth(exchanges).unwrap_or(self.messages.len());
        self.messages.drain(begin..end).count()
    }

    /// Writes a new file: messages as JSON, or text as Markdown, by its ending.
    pub(crate) fn save(&self, path: &Path) -> Result<(), HiveError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let bytes = match ending.to_ascii_lowercase().as_str() {
            "json" => serde_json::to_vec_pretty(&self.messages).map_err(|error| {
                HiveError::caused(ErrorKind::Failed, "cannot write the chat as JSON", &error)
            })?,
            "md" | "markdown" => self.markdown().into_bytes(),
            _ => return Err(usage("a chat is saved as .json or .md")),
        };
        let write = || {
            let mut file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
            file.write_all(&bytes)
        };
        write().map_err(|error: io::Error| {
            let error = unwritten(format!("cannot save to `{}`", path.display()), &error);
            if path.exists() {
                error.hint("nothing is overwritten; choose another name")
            } else {
                error
            }
        })
    }

    /// Reads messages that were saved as JSON.
    pub(crate) fn load(path: &Path) -> Result<Self, HiveError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("cannot load a chat from `{}`", path.display());
            HiveError::caused(ErrorKind::Usage, message, error)
        };
        let file = File::open(path).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        file.take(FILE_LEN + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if bytes.len() as u64 > FILE_LEN {
            return Err(usage(format!("`{}` is too long for a chat", path.display())));
        }
        let messages: Vec<Message> = serde_json::from_slice(&bytes).map_err(|error| {
            failed(&error)
                .hint("it takes what `/save FILE.json` writes: [{\"role\", \"content\"}, …]")
        })?;
        let misplaced = messages.iter().skip(1).any(|message| message.role == Role::System);
        if misplaced {
            return Err(usage(format!(
                "`{}` has a system message that is not the first",
                path.display()
            )));
        }
        Ok(Self { messages })
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for message in &self.messages {
            let who = match message.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            };
            // Writing to a text does not fail.
            let _ = write!(text, "**{who}**\n\n{}\n\n", message.content.trim());
        }
        text
    }
}

/// Readable by the owner alone, where the system has modes.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes a file that only its owner reads, if it is not there; one that others could read is mended.
pub(crate) fn ensure_private(path: &Path) -> io::Result<()> {
    let file = private(OpenOptions::new().append(true).create(true)).open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        }
    }
    drop(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn talk() -> Transcript {
        let mut transcript = Transcript::new(Some("You are a bee."));
        for n in 1..=3 {
            transcript.push(Role::User, format!("question {n}"));
            transcript.push(Role::Assistant, format!("answer {n}"));
        }
        transcript
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chat.json");
        talk().save(&path).unwrap();
        assert_eq!(Transcript::load(&path).unwrap(), talk());
        let error = talk().save(&path).unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("overwritten")));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let markdown = dir.path().join("chat.md");
        talk().save(&markdown).unwrap();
        let text = fs::read_to_string(markdown).unwrap();
        assert!(
            text.starts_with("**system**\n\nYou are a bee.\n\n**user**\n\nquestion 1\n"),
            "{text}"
        );
        assert_eq!(talk().save(&dir.path().join("chat.doc")).unwrap_err().kind, ErrorKind::Usage);
    }

    #[test]
    fn files_that_are_no_chats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        for text in ["", "{}", "[{\"role\":\"bee\",\"content\":\"\"}]", "[1]"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Transcript::load(&path).unwrap_err().kind, ErrorKind::Usage, "{text}");
        }
        fs::write(
            &path,
            "[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"system\",\"content\":\"\"}]",
        )
        .unwrap();
        assert!(Transcript::load(&path).unwrap_err().to_string().contains("not the first"));
        let file = File::create(&path).unwrap();
        file.set_len(FILE_LEN + 1).unwrap();
        assert!(Transcript::load(&path).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn forgetting_keeps_the_system_message_and_whole_exchanges() {
        let mut transcript = talk();
        assert_eq!(transcript.forget(2), 4);
        assert_eq!(transcript.messages()[0].role, Role::System);
        assert_eq!(transcript.messages()[1].content, "question 3");
        assert_eq!(transcript.forget(9), 2);
        assert_eq!((transcript.said(), transcript.messages().len()), (0, 1));
        transcript.set_system(None);
        assert_eq!(transcript.messages().len(), 0);
    }
}
