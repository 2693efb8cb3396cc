//! gRPC framing of the one hot method, bytes in and bytes out (gRPC over HTTP/2, "Length-Prefixed-Message").
//!
//! tonic answers a message that is too long, cut short or compressed with a gRPC error, which a
//! fail-open Envoy turns into an allow. Here each of them is an ordinary value, so that the service
//! can deny it in a successful RPC.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame};

/// The flag and the length before each message.
const PREFIX_BYTES: usize = 5;

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is longer than allowed.
    #[error("the check is longer than checks.maxMessage allows")]
    TooLong,
    /// It is compressed, which was not negotiated.
    #[error("the check is compressed")]
    Compressed,
    /// The stream ended before the message did.
    #[error("the check is cut short")]
    CutShort,
    /// More bytes follow the message.
    #[error("something follows the check")]
    Trailing,
}

/// Reads the one message of a unary call, of at most `limit` bytes.
///
/// # Errors
/// Where it is not there whole, alone and plain.
pub async fn read_message(
    body: impl HttpBody<Data = Bytes>,
    limit: usize,
) -> Result<Bytes, MessageError> {
    let mut body = pin!(body);
    let mut received = Received::default();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|_| MessageError::CutShort)?;
        if let Ok(data) = frame.into_data() {
            received.add(data);
            received.check_prefix(limit)?;
        }
    }
    received.into_message()
}

/// What has come of a message: mostly one frame, which is then used as it is.
#[derive(Debug, Default)]
struct Received {
    first: Bytes,
    more: Option<BytesMut>,
}

impl Received {
    fn add(&mut self, data: Bytes) {
        match &mut self.more {
            Some(more) => more.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let mut more = BytesMut::with_capacity(self.first.len() + data.len());
                more.extend_from_slice(&self.first);
                more.extend_from_slice(&data);
                self.more = Some(more);
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        self.more.as_deref().unwrap_or(&self.first)
    }

    /// The length that the prefix announces, once it is there.
    fn announced(&self) -> Result<Option<usize>, MessageError> {
        let Some((prefix, _)) = self.bytes().split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *prefix;
        if flag != 0 {
            return Err(MessageError::Compressed);
        }
        usize::try_from(u32::from_be_bytes(length))
            .map(Some)
            .map_err(|_| MessageError::TooLong)
    }

    fn check_prefix(&self, limit: usize) -> Result<(), MessageError> {
        match self.announced()? {
            Some(length) if length > limit => Err(MessageError::TooLong),
            Some(length) if self.bytes().len() > PREFIX_BYTES + length => {
                Err(MessageError::Trailing)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn into_message(self) -> Result<Bytes, MessageError> {
        let length = self.announced()?.ok_or(MessageError::CutShort)?;
        if self.bytes().len() < PREFIX_BYTES + length {
            return Err(MessageError::CutShort);
        }
        let whole = self.more.map_or(self.first, BytesMut::freeze);
        Ok(whole.slice(PREFIX_BYTES..))
    }
}

/// A message that is being made, with its prefix before it.
pub struct Outgoing(Vec<u8>);

/// It may hold a credential for the upstream: `Debug` tells the length only.
impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({} bytes)", self.message().len())
    }
}

impl Outgoing {
    /// An empty message that will have `length` bytes.
    #[must_use]
    pub fn of_length(length: usize) -> Self {
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
        bytes.push(0);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        Self(bytes)
    }

    /// Where the message goes on.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The message, without its prefix.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.0.get(PREFIX_BYTES..).unwrap_or_default()
    }

    /// The response of a successful unary call that carries it.
    #[must_use]
    pub fn into_response(self) -> Response<Unary> {
        let mut response = Response::new(Unary {
            message: Some(self.0.into()),
            ended: false,
        });
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        response
    }
}

/// One message and the trailers that say OK.
pub struct Unary {
    message: Option<Bytes>,
    ended: bool,
}

impl std::fmt::Debug for Unary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unary")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl HttpBody for Unary {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn body(chunks: &[&[u8]]) -> impl HttpBody<Data = Bytes> {
        let frames: Vec<Result<Frame<Bytes>, Infallible>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        StreamBody::new(tokio_stream::iter(frames))
    }

    async fn read(chunks: &[&[u8]]) -> Result<Bytes, MessageError> {
        read_message(body(chunks), 8).await
    }

    #[tokio::test]
    async fn a_message_is_read_in_one_piece_or_many() {
        assert_eq!(read(&[b"\0\0\0\0\x03abc"]).await.unwrap(), "abc");
        assert_eq!(
            read(&[b"\0\0", b"\0\0\x03a", b"b", b"c"]).await.unwrap(),
            "abc"
        );
        assert_eq!(read(&[b"\0\0\0\0\0"]).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_is_no_single_plain_message_is_an_error() {
        assert_eq!(read(&[]).await, Err(MessageError::CutShort));
        assert_eq!(read(&[b"\0\0\0\0"]).await, Err(MessageError::CutShort));
        assert_eq!(
            read(&[b"\0\0\0\0\x03ab"]).await,
            Err(MessageError::CutShort)
        );
        assert_eq!(
            read(&[b"\0\0\0\0\x01ab"]).await,
            Err(MessageError::Trailing)
        );
        assert_eq!(
            read(&[b"\x01\0\0\0\x01a"]).await,
            Err(MessageError::Compressed)
        );
        assert_eq!(read(&[b"\0\0\0\0\x09"]).await, Err(MessageError::TooLong));
        assert_eq!(
            read(&[b"\0\xff\xff\xff\xff"]).await,
            Err(MessageError::TooLong)
        );
    }

    #[tokio::test]
    async fn an_answer_is_one_message_with_status_zero() {
        let mut outgoing = Outgoing::of_length(3);
        outgoing.end().extend_from_slice(b"abc");
        assert_eq!(outgoing.message(), b"abc");
        let collected = outgoing
            .into_response()
            .into_body()
            .collect()
            .await
            .unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "\0\0\0\0\x03abc");
    }
}
