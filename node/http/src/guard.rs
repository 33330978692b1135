//! Who may call the local API at all.
//!
//! Other programs of the user may, once they show the token. Web pages may not: a page that the
//! user visits can make the browser send requests here, so the guard refuses a foreign `Host` (DNS
//! rebinding), a foreign `Origin`, a `Sec-Fetch-Site` that says another site asks, and any `POST`
//! that a form could send. It decides from the head alone, before the body is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hive_api::ErrorKind;

use crate::access::Token;
use crate::openai::{self, ApiError};
use crate::problem::Problem;

/// The one path that needs no token: it says that a node is here, and nothing about it.
pub(crate) const HEALTH: &str = "/health";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// What requests are held against.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Token,
    port: u16,
}

impl Guard {
    /// Guards a server that listens on `port`.
    pub(crate) fn new(token: Token, port: u16) -> Self {
        Self { token, port }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = self.check_host(uri, headers)?;
        check_origin(host, headers)?;
        if uri.path() != HEALTH {
            self.check_token(headers)?;
        }
        if method == Method::GET || method == Method::HEAD {
            return Ok(());
        }
        check_json(headers)
    }

    /// Refuses a name that is not this machine's own: that is how a page makes its own site's name
    /// point here.
    fn check_host<'a>(&self, uri: &Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        let host = only(headers, HOST)?.ok_or_else(|| refused("a request without a `Host`"))?;
        let ours = |host: &str| {
            let port = host
                .strip_prefix("localhost")
                .or_else(|| host.strip_prefix("127.0.0.1").or_else(|| host.strip_prefix("[::1]")));
            match port {
                Some("") => self.port == 80,
                Some(port) => port.strip_prefix(':') == Some(&self.port.to_string()),
                None => false,
            }
        };
        if !ours(host) || uri.authority().is_some_and(|name| !ours(name.as_str())) {
            return Err(refused("this is the local API of a hive node; it has no other name"));
        }
        Ok(host)
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let presented = only(headers, AUTHORIZATION)?.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if presented.is_some_and(|token| self.token.matches(token.as_bytes())) {
            return Ok(());
        }
        let problem =
            Problem::new(StatusCode::UNAUTHORIZED, ErrorKind::Refused, "no token, or a wrong one");
        Err(problem.hint("send `Authorization: Bearer` with what `api.token` in the home says"))
    }
}

/// Refuses a page of another origin, whatever it asks for.
fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(origin) = only(headers, ORIGIN)?
        && origin.strip_prefix("http://") != Some(host)
    {
        return Err(refused("requests from other origins are refused"));
    }
    match only(headers, SEC_FETCH_SITE)? {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(refused("requests from other sites are refused")),
    }
}

/// Refuses what a page can send without asking first: forms and plain text.
fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = only(headers, CONTENT_TYPE)?.and_then(|value| value.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let message = "the body of a request has `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::Usage, message))
}

/// A header that may come once; a second one is somebody's attempt to be two things.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(value) if values.next().is_none() => Ok(Some(value)),
        _ => Err(refused(&format!("a strange `{name}`"))),
    }
}

fn refused(message: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, ErrorKind::Refused, message)
}

/// The guard as a layer around everything that is served.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let verdict = guard.check(request.method(), request.uri(), request.headers());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            // Not the path: whoever is not let in may have written anything there.
            tracing::debug!(method = %request.method(), "refused");
            if request.uri().path().starts_with(openai::PREFIX) {
                ApiError::from(problem).into_response()
            } else {
                problem.into_response()
            }
        }
    };
    // Should a browser ever show an answer, it is to do nothing with it.
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}
