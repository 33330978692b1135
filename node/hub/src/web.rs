//! One request, with every redirect decided here.
//!
//! A [`Web`] belongs to one origin: the hub's, or that of an address that the user gave. The token
//! goes to that origin and nowhere else. Where the origin is public, every address that is dialled
//! on the way has to be public too; the resolver that checks it is the one that the connection is
//! made with, so there is no second look-up to answer differently.
//!
//! Never retries ([`crate::retry`] does), never reads a body but for JSON, whose length is bounded.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hive_api::{ErrorKind, HiveError, Secret};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use url::{Host, Origin, Url};

use crate::limits;
use crate::options::Options;
use crate::proxy;
use crate::resolver::{Checked, NotPublic};
use crate::retry::{AskError, Refusal};

/// The software and its version, as hubs see it.
const AGENT: &str = concat!("hive/", env!("CARGO_PKG_VERSION"));

/// A client for one origin.
#[derive(Debug)]
pub(crate) struct Web {
    client: reqwest::Client,
    origin: Origin,
    token: Option<Secret>,
    /// Whether every address has to be public.
    public: bool,
    options: Options,
}

/// An answer of success, or that a range cannot be had.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The headers of the origin's own last answer, before any other host was asked.
    pub(crate) of_origin: HeaderMap,
    pub(crate) response: Response,
    /// Where the answer came from.
    pub(crate) url: Url,
}

impl Web {
    /// A client for the origin of an address.
    pub(crate) async fn open(
        base: &Url,
        token: Option<Secret>,
        options: &Options,
    ) -> Result<Self, HiveError> {
        let host = base.host().ok_or_else(|| no_host(base))?;
        let proxies = if options.proxies { proxy::from_environment() } else { Vec::new() };
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(address)],
            Host::Ipv6(address) => vec![IpAddr::V6(address)],
            Host::Domain(name) => match looked_up(name, options).await {
                Ok(addresses) => addresses,
                // Behind a proxy, names are often its business alone.
                Err(_) if !proxies.is_empty() => Vec::new(),
                Err(error) => {
                    let message = format!("cannot find the address of `{name}`");
                    return Err(HiveError::caused(ErrorKind::Unreachable, message, &error)
                        .hint("is this machine on the internet? `HF_ENDPOINT` names another hub"));
                }
            },
        };
        // A host with addresses of both kinds is taken for a public one.
        let public =
            addresses.is_empty() || addresses.iter().any(|&address| (options.is_public)(address));
        if public && base.scheme() != "https" && !options.plain {
            let message = format!("`{}` is public and has no TLS", shown(base));
            return Err(HiveError::new(ErrorKind::Refused, message)
                .hint("use `https://`; `http://` is for this machine and the local network"));
        }
        let resolver = Checked {
            lookup: Arc::clone(&options.lookup),
            is_public: options.is_public,
            public,
            proxies: proxies.iter().filter_map(|proxy| proxy.host_str().map(Into::into)).collect(),
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits::CONNECT)
            .no_proxy()
            .dns_resolver(Arc::new(resolver));
        // What is on this network is reached without the way out of it.
        for url in proxies.iter().filter(|_| public) {
            builder = builder.proxy(proxy::as_reqwest(url)?);
        }
        let client = builder
            .build()
            .map_err(|error| HiveError::caused(ErrorKind::Failed, "cannot set up TLS", &error))?;
        Ok(Self { client, origin: base.origin(), token, public, options: options.clone() })
    }

    /// Whether a request carries a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks, and follows redirects. What the body says is the caller's to read.
    pub(crate) async fn get(&self, url: Url, headers: &HeaderMap) -> Result<Answer, AskError> {
        let mut url = url;
        let mut of_origin = HeaderMap::new();
        for _ in 0..=limits::REDIRECTS {
            self.check_literal(&url)?;
            let mut request = self.client.get(url.clone()).headers(headers.clone());
            let at_home = url.origin() == self.origin;
            if at_home && let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, bearer(token)?);
            }
            let answered =
                tokio::time::timeout(self.options.stall + limits::CONNECT, request.send());
            let response = match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(broken(error, &url)),
                Err(_) => return Err(AskError::transient(format!("{} is silent", host(&url)))),
            };
            if at_home {
                of_origin = response.headers().clone();
            }
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                url = next(&url, response.headers())?;
                continue;
            }
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok(Answer { of_origin, response, url });
            }
            return Err(refusal(status, response.headers(), &url));
        }
        let told = format!("{} redirects more than {} times", host(&url), limits::REDIRECTS);
        Err(HiveError::new(ErrorKind::Failed, told).into())
    }

    /// The next bytes of a body, or that nothing comes.
    pub(crate) async fn chunk(
        &self,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, AskError> {
        match tokio::time::timeout(self.options.stall, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => {
                Err(AskError::transient(format!("the connection broke: {}", root(&error))))
            }
            Err(_) => {
                let seconds = self.options.stall.as_secs_f64();
                Err(AskError::transient(format!("no byte came for {seconds} seconds")))
            }
        }
    }

    /// Asks for JSON of bounded length.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        url: Url,
    ) -> Result<(T, HeaderMap), AskError> {
        let mut answer = self.get(url.clone(), &HeaderMap::new()).await?;
        let mut body = Vec::new();
        let reading = async {
            while let Some(chunk) = self.chunk(&mut answer.response).await? {
                if body.len() + chunk.len() > limits::JSON_LEN {
                    let told = format!("{} answers without end", host(&answer.url));
                    return Err(HiveError::new(ErrorKind::Refused, told).into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, AskError>(())
        };
        tokio::time::timeout(limits::JSON_TIME, reading)
            .await
            .map_err(|_| AskError::transient(format!("{} answers too slowly", host(&url))))??;
        let value = serde_json::from_slice(&body).map_err(|error| {
            let told = format!("`{}` does not answer as a model hub does", host(&url));
            let mut refused = HiveError::new(ErrorKind::Failed, told);
            // It repeats what was received.
            refused.messages.extend(crate::repo::clean(&error.to_string()));
            refused.hint("is `HF_ENDPOINT` the address of a hub?")
        })?;
        Ok((value, answer.of_origin))
    }

    /// Addresses in the text of a URL pass by the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), HiveError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        if self.public && !(self.options.is_public)(address) {
            return Err(not_public(&host(url)));
        }
        Ok(())
    }
}

/// The addresses of a name, from a name server that answers in time.
async fn looked_up(name: &str, options: &Options) -> io::Result<Vec<IpAddr>> {
    let looked_up = options.lookup.lookup(name.to_owned());
    tokio::time::timeout(options.stall, looked_up).await.map_err(io::Error::from)?
}

/// Where a redirect leads, if it may.
fn next(from: &Url, headers: &HeaderMap) -> Result<Url, HiveError> {
    let refuse = |why: &str| {
        let told = format!("{} redirects {why}", host(from));
        HiveError::new(ErrorKind::Refused, told)
    };
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let to = to.and_then(|to| from.join(to).ok()).ok_or_else(|| refuse("to no address"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(refuse("from https to http, which anybody can read")),
        _ => return Err(refuse("to something that is no web page")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refuse("to an address with a password in it"));
    }
    Ok(to)
}

fn bearer(token: &Secret) -> Result<HeaderValue, HiveError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        HiveError::new(ErrorKind::Usage, "the token has characters that no token has")
            .hint("look at `HF_TOKEN`: a line break at its end is the usual cause")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a status that is not success means.
fn refusal(status: StatusCode, headers: &HeaderMap, url: &Url) -> AskError {
    let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    if again {
        let after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        let after =
            after.and_then(|after| after.trim().parse().ok()).map(std::time::Duration::from_secs);
        return AskError::Transient { reason: format!("{} answers {status}", host(url)), after };
    }
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.chars().filter(|char| !char.is_control()).take(limits::TOLD_LEN).collect())
    };
    AskError::Refused(Refusal {
        status: status.as_u16(),
        host: host(url),
        code: text("x-error-code"),
        message: text("x-error-message"),
    })
}

/// A request that had no answer. The address is left out: those of a CDN are signed.
fn broken(error: reqwest::Error, url: &Url) -> AskError {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(NotPublic { host }) = at.downcast_ref() {
            return not_public(host).into();
        }
        let bad_tls = at
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
        if bad_tls {
            let told = format!("cannot trust {}", host(url));
            return HiveError::caused(ErrorKind::Unreachable, told, at)
                .hint("is the clock right? is there a proxy that opens TLS?")
                .into();
        }
        cause = at.source();
    }
    AskError::Transient {
        reason: format!("cannot ask {}: {}", host(url), root(&error)),
        after: None,
    }
}

fn not_public(host: &str) -> HiveError {
    let told = format!("`{host}` leads into a private network, and a public hub sent us there");
    HiveError::new(ErrorKind::Refused, told)
        .hint("if the hub is your own, name it by its private address in `HF_ENDPOINT`")
}

fn no_host(url: &Url) -> HiveError {
    HiveError::new(ErrorKind::Usage, format!("`{}` names no host", shown(url)))
}

/// The innermost cause, which is the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The host of an address, which is all of it that an error repeats.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An address without its query, which may hold a signature.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leaves_tls_nor_the_web() {
        let follow = |from: &str, to: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(to).unwrap())]);
            next(&Url::parse(from).unwrap(), &headers).map(String::from)
        };
        assert_eq!(follow("https://a.test/x/y", "z").unwrap(), "https://a.test/x/z");
        assert_eq!(follow("https://a.test/", "//b.test/").unwrap(), "https://b.test/");
        assert_eq!(follow("http://a.test/", "https://b.test/").unwrap(), "https://b.test/");
        assert_eq!(follow("http://a.test/", "http://b.test/").unwrap(), "http://b.test/");
        for to in [
            "http://a.test/",
            "file:///etc/passwd",
            "ftp://a.test/",
            "https://me:pw@b.test/",
            "https://",
        ] {
            assert_eq!(follow("https://a.test/", to).unwrap_err().kind, ErrorKind::Refused, "{to}");
        }
    }
}
