//! A response body that records when it has been sent, for [`super::activity`].
//!
//! It changes no byte of the response. Hyper has written data once it drops the chunk that held them, which is the one
//! sign of it that a body can see. "Sent" means given to the kernel; whether the client has read it is the business of
//! `TCP_USER_TIMEOUT`.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use hyper::body::{Body as HttpBody, Buf, Bytes, Frame, SizeHint};

use super::activity::UnsentResponse;

/// How long a client may take to read a response. The time until the response is finished does not count.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A body whose response counts as unsent until hyper has written its last byte to the socket, or has dropped it.
///
/// The end of the body is not enough: HTTP/2 takes a whole chunk as soon as the client's window admits one byte. So the
/// last chunk carries the mark.
pub(crate) struct Delivery {
    body: Body,
    /// The mark. `None` once the last chunk has it.
    unsent: Option<UnsentResponse>,
}

impl Delivery {
    /// Wraps a body. Without a mark it records nothing.
    pub(crate) fn new(body: Body, unsent: Option<UnsentResponse>) -> Self {
        Self { body, unsent }
    }
}

impl HttpBody for Delivery {
    type Data = Chunk;
    type Error = axum::Error;

    /// Passes the next frame on. The mark moves into the frame after which the body is at its end; if that frame has no
    /// data, or there is none, the response counts as sent.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let unsent = match self.body.is_end_stream() {
            true => self.unsent.take(),
            false => None,
        };
        let chunk = |bytes| Chunk {
            bytes,
            _unsent: unsent,
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A chunk of a body. The last chunk holds the mark that the response is unsent. Hyper drops a chunk once it is
/// written.
pub(crate) struct Chunk {
    /// What is left to write of this chunk.
    bytes: Bytes,
    _unsent: Option<UnsentResponse>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}
