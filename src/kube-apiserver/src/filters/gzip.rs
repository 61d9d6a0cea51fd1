//! Large answers are sent compressed to clients that ask for it.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use crate::reply::{self, Body, BoxError, Response};
use crate::request_info::RequestInfo;

/// Smaller answers are not worth the work, as upstream.
const LEAST: usize = 128 * 1024;
/// Compressed bytes are sent in pieces of about this size.
const PIECE: usize = 32 * 1024;
/// Fast: the wire is rarely what is slow.
const LEVEL: u32 = 1;

/// Compresses the answer to a read if it is large and the client wants it so.
pub(super) async fn shrink(info: &RequestInfo, wanted: bool, response: Response) -> Response {
    let reads = info.is_resource && matches!(info.verb.as_str(), "get" | "list") && !info.is_long_running();
    let fits = wanted && reads && response.status().is_success();
    if !fits || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, mut body) = response.into_parts();
    if body.size_hint().upper().is_some_and(|size| size < u64::try_from(LEAST).unwrap_or(u64::MAX)) {
        return Response::from_parts(parts, body);
    }
    // A stream does not tell how long it is: the beginning is looked at before the head is sent.
    let mut first = BytesMut::new();
    while first.len() < LEAST {
        match body.frame().await {
            Some(Ok(frame)) => first.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => {
                let broken = futures::stream::iter([Ok(first.freeze()), Err(error)]);
                return Response::from_parts(parts, reply::stream(broken));
            }
            None => return Response::from_parts(parts, reply::full(first.freeze())),
        }
    }
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    let encoder = GzEncoder::new(Vec::with_capacity(PIECE), Compression::new(LEVEL));
    let body = Gzipped { body, first: Some(first.freeze()), encoder: Some(encoder) };
    Response::from_parts(parts, body.boxed())
}

/// Whether a client takes gzip.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let text = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').any(|entry| {
        let (coding, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0_f32));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

struct Gzipped {
    body: Body,
    first: Option<Bytes>,
    /// None once the end was written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzipped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            let next = match this.first.take() {
                Some(first) => Some(Ok(Frame::data(first))),
                None => ready!(Pin::new(&mut this.body).poll_frame(cx)),
            };
            match next {
                Some(Ok(frame)) => {
                    encoder.write_all(&frame.into_data().unwrap_or_default())?;
                    if encoder.get_ref().len() >= PIECE {
                        let piece = std::mem::replace(encoder.get_mut(), Vec::with_capacity(PIECE));
                        return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let encoder = this.encoder.take().expect("the end comes once");
                    return Poll::Ready(Some(Ok(Frame::data(encoder.finish()?.into()))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use http::{Method, StatusCode};

    use super::*;

    async fn answer(bytes: Bytes, streamed: bool, wanted: bool) -> (bool, Bytes) {
        let body = if streamed {
            let pieces: Vec<Result<Bytes, BoxError>> =
                bytes.chunks(1000).map(|piece| Ok(piece.to_vec().into())).collect();
            reply::stream(futures::stream::iter(pieces))
        } else {
            reply::full(bytes)
        };
        let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", "");
        let response = shrink(&info, wanted, reply::respond(StatusCode::OK, reply::JSON, body)).await;
        let gzipped = response.headers().contains_key(header::CONTENT_ENCODING);
        (gzipped, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn large_answers_shrink_and_mean_the_same() {
        let large: Bytes =
            (0..400_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect::<Vec<_>>().into();
        for streamed in [false, true] {
            let (gzipped, sent) = answer(large.clone(), streamed, true).await;
            assert!(gzipped && sent.len() < large.len() / 4);
            let mut plain = Vec::new();
            GzDecoder::new(&sent[..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, large);
            assert_eq!(answer(large.clone(), streamed, false).await, (false, large.clone()));
            let small = large.slice(..5000);
            assert_eq!(answer(small.clone(), streamed, true).await, (false, small));
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (text, expected) in
            [("gzip", true), ("deflate, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            assert_eq!(is_wanted(&headers), expected, "{text}");
        }
    }
}
