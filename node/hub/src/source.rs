//! What a user may write for a model that is neither a path nor in the swarm.
//!
//! A pure parser. Everything that later becomes part of a path or an address is checked here.

use std::fmt;
use std::str::FromStr;

use hive_protocol::TreePath;
use url::Url;

/// Characters in the owner's or the repository's name at most, as the hub has it.
const NAME_LEN: usize = 96;
/// Characters in a revision at most: git refuses longer ones on most file systems.
const REVISION_LEN: usize = 255;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of a hub.
    Hub(Repo),
    /// A model that Ollama keeps on this disk.
    Ollama(OllamaName),
    /// An address.
    Address(Url),
}

/// `hf:owner/repo[@revision][:file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// `owner/repo`, or `repo` alone as the oldest ones are called.
    pub(crate) id: String,
    /// A branch, a tag or a commit.
    pub(crate) revision: Option<String>,
    /// A file, or a quantisation.
    pub(crate) file: Option<String>,
}

/// `ollama:[[host/]namespace/]name[:tag]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OllamaName {
    /// The registry that it came from, where the user says it.
    pub(crate) host: Option<String>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) tag: String,
}

/// Why a text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Starts with nothing that is known.
    #[error("a source starts with `hf:`, `ollama:`, `https://` or `http://`")]
    Scheme,
    /// Not the name of a repository.
    #[error("a repository is `owner/repo` of letters, digits and `. _ -`")]
    Repo,
    /// Not a revision.
    #[error("a revision is a branch, a tag or a commit")]
    Revision,
    /// Not a path of a file.
    #[error("`{file}` is no path of a file")]
    File {
        /// What was given.
        file: String,
    },
    /// Not the name of a model of Ollama.
    #[error("a model of Ollama is `name[:tag]`, as `ollama list` shows it")]
    Ollama,
    /// Not an address.
    #[error("not an address")]
    Address,
    /// An address with a password in it.
    #[error("an address with a name or a password in it ends up in logs and is not taken")]
    Password,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return rest.parse().map(Self::Hub);
        }
        if let Some(rest) = text.strip_prefix("ollama:") {
            return rest.parse().map(Self::Ollama);
        }
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err(SourceError::Scheme);
        }
        let url = Url::parse(text).map_err(|_| SourceError::Address)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SourceError::Password);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(SourceError::Address);
        }
        Ok(Self::Address(url))
    }
}

impl FromStr for Repo {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (left, file) = match text.split_once(':') {
            Some((left, file)) => (left, Some(file)),
            None => (text, None),
        };
        let (id, revision) = match left.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (left, None),
        };
        let parts = id.split('/').count();
        if parts > 2 || !id.split('/').all(is_name) {
            return Err(SourceError::Repo);
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(SourceError::Revision);
        }
        if let Some(file) = file
            && file.parse::<TreePath>().is_err()
        {
            return Err(SourceError::File { file: file.chars().take(80).collect() });
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

impl FromStr for OllamaName {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        // A host may have a port, so the tag is what follows the last `/`'s colon.
        let (path, last) = match text.rsplit_once('/') {
            Some((path, last)) => (Some(path), last),
            None => (None, text),
        };
        let (name, tag) = last.split_once(':').unwrap_or((last, "latest"));
        let (host, namespace) = match path.map(|path| path.rsplit_once('/')) {
            None => (None, "library"),
            Some(None) => (None, path.unwrap_or_default()),
            Some(Some((host, namespace))) => (Some(host), namespace),
        };
        let host_fits = |host: &str| {
            let (name, port) = host.split_once(':').unwrap_or((host, "0"));
            is_name(name) && port.parse::<u16>().is_ok()
        };
        if ![namespace, name, tag].into_iter().all(is_name) || !host.is_none_or(host_fits) {
            return Err(SourceError::Ollama);
        }
        Ok(Self {
            host: host.map(str::to_owned),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for OllamaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ollama:")?;
        match (&self.host, self.namespace.as_str()) {
            (Some(host), namespace) => write!(f, "{host}/{namespace}/")?,
            (None, "library") => {}
            (None, namespace) => write!(f, "{namespace}/")?,
        }
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// One component: nothing that goes up, hides or is an option of some program.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_LEN).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with(['.', '-'])
        && !text.contains("..")
}

/// A branch, a tag or a commit that can be part of an address and of a path.
pub(crate) fn is_revision(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(fits) && !part.starts_with('.') && !part.contains("..")
    };
    (1..=REVISION_LEN).contains(&text.len()) && text.split('/').all(part) && !text.starts_with('-')
}

/// A whole git commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_a_revision_and_a_file() {
        let Source::Hub(repo) =
            "hf:Qwen/Qwen3-0.6B-GGUF@refs/pr/1:sub/x-Q8_0.gguf".parse().unwrap()
        else {
            panic!("a hub's")
        };
        assert_eq!(repo.id, "Qwen/Qwen3-0.6B-GGUF");
        assert_eq!(repo.revision.as_deref(), Some("refs/pr/1"));
        assert_eq!(repo.file.as_deref(), Some("sub/x-Q8_0.gguf"));
        assert!("hf:gpt2".parse::<Source>().is_ok());
    }

    #[test]
    fn ollama_names_are_read_and_written() {
        for (text, shown) in [
            ("ollama:llama3.2", "ollama:llama3.2:latest"),
            ("ollama:llama3.2:1b", "ollama:llama3.2:1b"),
            ("ollama:me/mine:x", "ollama:me/mine:x"),
            ("ollama:registry.test:5000/me/mine", "ollama:registry.test:5000/me/mine:latest"),
        ] {
            let Source::Ollama(name) = text.parse().unwrap() else { panic!("{text}") };
            assert_eq!(name.to_string(), shown);
        }
    }

    #[test]
    fn what_could_leave_its_place_is_no_source() {
        for text in [
            "",
            "model.gguf",
            "hf:",
            "hf:/repo",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b@x//y",
            "hf:a/b:",
            "hf:a/b:../x",
            "hf:a/b:/etc/passwd",
            "hf:a/b:x\0y",
            "hf:a/b?x",
            "hf:a%2fb/c",
            "ollama:",
            "ollama:..",
            "ollama:../../x",
            "ollama:x:../y",
            "ollama:a/b/c/d",
            "ollama:host:99999/a/b",
            "https://",
            "https://me:secret@hub.test/x",
            "ftp://hub.test/x",
            "file:///etc/passwd",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text:?}");
        }
        assert!(format!("hf:{}/b", "a".repeat(97)).parse::<Source>().is_err());
    }
}
