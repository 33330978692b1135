//! Proxies: those that the environment names, by the variables that every tool reads.
//!
//! Not those of a desktop's settings. Behind a proxy it is the proxy that finds addresses, so there
//! only addresses written as numbers can be checked; what arrives is checked by its digest anyhow.

use hive_api::{ErrorKind, HiveError};
use url::Url;

/// The variables, the scheme that each is for in the order of their precedence.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The proxy for `https`, if there is one that can be used.
pub(crate) fn from_environment() -> Vec<Url> {
    let named = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
    let mut urls = named.filter(|value| !value.is_empty()).filter_map(|value| parse(&value));
    urls.next().into_iter().collect()
}

/// `http://proxy:3128`, or as many write it, `proxy:3128`.
fn parse(value: &str) -> Option<Url> {
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The same for the client, with the exceptions of `NO_PROXY`.
pub(crate) fn as_reqwest(url: &Url) -> Result<reqwest::Proxy, HiveError> {
    reqwest::Proxy::all(url.clone())
        .map(|proxy| proxy.no_proxy(reqwest::NoProxy::from_env()))
        .map_err(|error| {
            HiveError::caused(ErrorKind::Usage, "cannot use the proxy of `HTTPS_PROXY`", &error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_people_write_them() {
        for (text, host) in [
            ("http://proxy.test:3128", Some("proxy.test")),
            ("proxy.test:3128", Some("proxy.test")),
            ("https://me:pw@10.0.0.1", Some("10.0.0.1")),
            ("socks5://proxy.test", None),
            ("", None),
        ] {
            let url = parse(text);
            assert_eq!(url.as_ref().and_then(Url::host_str), host, "{text}");
        }
    }
}
