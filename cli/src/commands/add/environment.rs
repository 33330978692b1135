//! What the user's environment says of hubs and other programs, in the variables that those read.
//!
//! Read here and sent with the request: the node may have been started elsewhere. The token goes
//! no further than into the request.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hive_api::{PullRequest, Secret};

use crate::env;
use crate::failure::usage;

/// Bytes in a file with a token at most; tokens have some forty.
const TOKEN_LEN: u64 = 4 << 10;

/// A request for a source with what the environment adds to it.
pub(crate) fn request(
    source: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<PullRequest> {
    let mut request = PullRequest { source: source.to_owned(), ..PullRequest::default() };
    // A variable set to nothing is a variable not set, as scripts mean it.
    let var = |name: &str| environment(name).filter(|value| !value.is_empty());
    let text = |name: &str| match var(name).map(OsString::into_string) {
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(usage(format!("the environment variable `{name}` is not UTF-8"))),
        None => Ok(None),
    };
    let path = |name: &str| var(name).map(PathBuf::from).map(std::path::absolute).transpose();
    if source.starts_with("hf:") {
        let cache = var(env::XDG_CACHE_HOME).map(PathBuf::from);
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let home = match path(env::HF_HOME)? {
            Some(home) => Some(home),
            None => cache.map(|cache| cache.join("huggingface")),
        };
        request.endpoint = text(env::HF_ENDPOINT)?;
        request.offline = text(env::HF_HUB_OFFLINE)?.is_some_and(|value| is_true(&value));
        request.cache = match path(env::HF_HUB_CACHE)? {
            Some(cache) => Some(cache),
            None => home.as_ref().map(|home| home.join("hub")),
        };
        let file = match path(env::HF_TOKEN_PATH)? {
            Some(file) => Some(file),
            None => home.map(|home| home.join("token")),
        };
        let token = text(env::HF_TOKEN)?.or_else(|| read_token(&file?));
        request.token = token.map(|token| token.trim().to_owned()).map(Secret::new);
    }
    if source.starts_with("ollama:") {
        request.cache = path(env::OLLAMA_MODELS)?;
    }
    Ok(request)
}

/// As Hugging Face's libraries read it.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn read_token(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > TOKEN_LEN {
        return None;
    }
    std::fs::read_to_string(file).ok().filter(|token| !token.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hugging_faces_tools_read_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_of_file\n").unwrap();
        let home = dir.path().as_os_str().to_owned();
        let in_home = |name: &str| (name == "HF_HOME").then(|| home.clone());
        let read = request("hf:a/b", &in_home).unwrap();
        assert_eq!(read.token.as_ref().map(Secret::expose), Some("hf_of_file"));
        assert_eq!(read.cache, Some(dir.path().join("hub")));
        assert!(!read.offline);

        let more = |name: &str| match name {
            "HF_TOKEN" => Some("hf_of_variable ".into()),
            "HF_HUB_OFFLINE" => Some("YES".into()),
            "HF_ENDPOINT" => Some("http://127.0.0.1:1".into()),
            name => in_home(name),
        };
        let read = request("hf:a/b", &more).unwrap();
        assert_eq!(read.token.as_ref().map(Secret::expose), Some("hf_of_variable"));
        assert_eq!(read.endpoint.as_deref(), Some("http://127.0.0.1:1"));
        assert!(read.offline);
    }

    #[test]
    fn an_address_gets_no_token() {
        let all = |name: &str| Some(OsString::from(format!("/{name}")));
        let read = request("https://a.test/x", &all).unwrap();
        assert_eq!((read.token, read.endpoint, read.cache), (None, None, None));
        assert_eq!(request("ollama:x", &all).unwrap().cache, Some("/OLLAMA_MODELS".into()));
    }
}
