//! `GET /v1/models/download/{id}`: the files of a model, to be downloaded by anything that speaks
//! HTTP, and gone on with where it broke off (RFC 9110 §13 and §14).
//!
//! A file's entity tag is its CID, so the same tag is the same bytes, today and on another node.
//! Bytes are read as the reader takes them. A file that turns out to be damaged in the middle cuts
//! the connection: there is no other way left to say that what came is not all.

pub(crate) mod range;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use hive_api::{ErrorKind, Events, HiveError, ModelFile, ReadRequest};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt::Write as _;
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::extract::Params;
use crate::ndjson::stopping;
use crate::openai::ApiError;
use crate::openapi::{Operation, Table};
use range::Asked;

/// What the document files this under.
const TAG: &str = "models";
/// The media type of what nobody but a model's own software reads.
const OCTETS: &str = "application/octet-stream";

/// Query of a download.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileParam {
    /// The file's path in the tree; needed only where there are several.
    file: Option<String>,
}

/// Adds the endpoint.
pub(crate) fn endpoints(table: Table<Control>) -> Table<Control> {
    table.get(
        "/v1/models/download/{*id}",
        download,
        Operation::new(TAG, "Downloads a file of a model, or a range of it")
            .query::<FileParam>()
            .bytes(OCTETS),
    )
}

async fn download(
    State(control): State<Control>,
    model: Result<Path<String>, PathRejection>,
    params: Result<Params<FileParam>, crate::problem::Problem>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (Path(model), Params(FileParam { file })) = (model?, params?);
    let nothing = ReadRequest { model: model.clone(), file, start: 0, len: Some(0) };
    let file = control.hive.read(nothing).await.map_err(ApiError::of_model)?.file;
    let tag = format!("\"{}\"", file.cid);
    let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let names_it = |tags: &str| tags.trim() == "*" || tags.split(',').any(|t| t.trim() == tag);

    if said(IF_MATCH).is_some_and(|tags| !names_it(tags)) {
        return Ok(describe(StatusCode::PRECONDITION_FAILED, &file, &tag, 0, Body::empty()));
    }
    let weakly = |tags: &str| names_it(&tags.replace("W/", ""));
    if said(IF_NONE_MATCH).is_some_and(weakly) {
        let mut response = (StatusCode::NOT_MODIFIED, Body::empty()).into_response();
        response.headers_mut().insert(ETAG, text(&tag));
        return Ok(response);
    }
    // A tag that is weak or another, or a date, which a CID has none of: the file from its start.
    let still = said(IF_RANGE).is_none_or(|validator| validator.trim() == tag);
    let asked = match (headers.get_all(RANGE).iter().count(), said(RANGE)) {
        (1, Some(range)) if still && method == Method::GET => range::parse(range, file.size),
        _ => Asked::Whole,
    };
    let (status, start, len) = match asked {
        Asked::Whole => (StatusCode::OK, 0, file.size),
        Asked::Part { start, len } => (StatusCode::PARTIAL_CONTENT, start, len),
        Asked::Nothing => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut response = describe(status, &file, &tag, 0, Body::empty());
            let all = text(&format!("bytes */{}", file.size));
            response.headers_mut().insert(CONTENT_RANGE, all);
            return Ok(response);
        }
    };
    let body = if method == Method::HEAD || len == 0 {
        Body::empty()
    } else {
        let path = Some(file.path.clone());
        let part = ReadRequest { model, file: path, start, len: Some(len) };
        let reading = control.hive.read(part).await.map_err(ApiError::of_model)?;
        if reading.file.cid != file.cid || reading.len != len {
            let message = "the model was replaced while it was looked at";
            return Err(HiveError::new(ErrorKind::Interrupted, message).hint("ask again").into());
        }
        body(reading.bytes, control.stop)
    };
    let mut response = describe(status, &file, &tag, len, body);
    if status == StatusCode::PARTIAL_CONTENT {
        let part = text(&format!("bytes {start}-{}/{}", start + len - 1, file.size));
        response.headers_mut().insert(CONTENT_RANGE, part);
    }
    Ok(response)
}

/// Sends bytes as they are taken; the end of the node cuts them off.
pub(crate) fn body(bytes: Events<Bytes>, stop: CancellationToken) -> Body {
    Body::from_stream(stream::unfold(Some((bytes, stop)), |state| async {
        let (mut bytes, stop) = state?;
        let piece = tokio::select! {
            biased;
            piece = bytes.next() => piece?,
            () = stop.cancelled() => Err(stopping()),
        };
        if let Err(error) = &piece {
            tracing::debug!(%error, "a download is cut off");
        }
        let goes_on = piece.is_ok();
        Some((piece, goes_on.then_some((bytes, stop))))
    }))
}

fn describe(status: StatusCode, file: &ModelFile, tag: &str, len: u64, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, text(tag));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    headers.insert(CONTENT_LENGTH, len.into());
    headers.insert(CONTENT_DISPOSITION, text(&disposition(&file.path)));
    response
}

/// What to save it as (RFC 6266): the last name of its path, in a form that no shell, file system
/// or header trips over, and as it is for those that read the longer form.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.is_empty() || plain.starts_with('.') {
        plain.insert(0, '_');
    }
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("a string takes any text");
            }
        }
    }
    text
}

/// A header's value made of letters, digits and signs.
fn text(value: &str) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_file_name_leaves_its_folders_and_its_tricks_behind() {
        assert_eq!(disposition("a/b.gguf"), "attachment; filename=\"b.gguf\"");
        assert_eq!(
            disposition("x/ä \"b\r\n;.gguf"),
            "attachment; filename=\"___b___.gguf\"; filename*=UTF-8''%C3%A4%20%22b%0D%0A%3B.gguf",
        );
        assert_eq!(disposition(".."), "attachment; filename=\"_..\"; filename*=UTF-8''..");
    }
}
