//! Bodies and responses as every handler makes them.

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};

/// Whatever may go wrong while a body is sent.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response body: bytes at hand or a stream.
pub type Body = http_body_util::combinators::BoxBody<Bytes, BoxError>;
/// A response.
pub type Response = http::Response<Body>;

/// The media type of most answers.
pub const JSON: &str = "application/json";

/// A body of bytes at hand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body that is sent piece by piece.
pub fn stream<S, E>(pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    let frames = futures::StreamExt::map(pieces, |piece| piece.map(Frame::data).map_err(Into::into));
    StreamBody::new(frames).boxed()
}

/// A response of some media type.
pub fn respond(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A JSON response.
pub fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response {
    respond(status, JSON, full(bytes))
}

/// A plain text response.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    respond(status, "text/plain; charset=utf-8", full(text))
}
