//! gzip for streams, flushed after each line so that nothing waits in the compressor.

use std::convert::Infallible;
use std::io::Write as _;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http::{HeaderMap, header};

use crate::stream::body::StreamBody;

/// Whether the client accepts gzip. Clients that accept only zstd, which the official service prefers, or brotli get
/// uncompressed lines.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|one| {
            let (name, parameters) = one.split_once(';').unwrap_or((one, ""));
            let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0f32));
            matches!(name.trim(), "gzip" | "*") && !refused
        })
    })
}

/// The lines as a response body.
pub(super) fn stream_body(lines: StreamBody, gzip: bool) -> Body {
    if !gzip {
        let chunks = stream::unfold(Box::new(lines), |mut lines| async move {
            lines.next_line().await.map(|line| (Ok::<Bytes, Infallible>(line), lines))
        });
        return Body::from_stream(chunks);
    }
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let chunks = stream::unfold(Some((Box::new(lines), encoder)), |state| async move {
        let (mut lines, mut encoder) = state?;
        let wrote = "writing to memory does not fail";
        match lines.next_line().await {
            Some(line) => {
                encoder.write_all(&line).expect(wrote);
                encoder.flush().expect(wrote);
                let chunk = std::mem::take(encoder.get_mut());
                Some((Ok::<Bytes, Infallible>(Bytes::from(chunk)), Some((lines, encoder))))
            }
            None => Some((Ok(Bytes::from(encoder.finish().expect(wrote))), None)),
        }
    });
    Body::from_stream(chunks)
}
