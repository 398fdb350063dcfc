//! Responses with a JSON body. Pure.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

/// Room for the body of a decision by one limit, in bytes. Longer bodies grow.
const BODY_BYTES: usize = 256;

/// Room for the headers of a decision, without the older X-RateLimit headers.
const HEADERS: usize = 6;

/// The headers that each JSON body has: its media type, `application/json`, and that caches must not store it.
pub(super) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// A response with these headers, which include the media type of the body.
///
/// The headers become those of the response. Passing them to axum as a tuple would insert each of them again.
pub(super) fn response(status: StatusCode, headers: HeaderMap, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(BODY_BYTES);
    serde_json::to_writer(&mut text, body).expect("the bodies are structs of numbers and texts");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
