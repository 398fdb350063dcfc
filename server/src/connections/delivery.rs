//! The body of an answer, which knows when it has been sent.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Buf, Bytes, Frame, SizeHint};

use super::activity::Unsent;

/// A body whose answer counts as unsent until hyper has written its last byte to the socket, or has dropped it.
///
/// The body alone does not tell: HTTP/2 takes a whole chunk from it as soon as the client's window lets one byte pass.
pub(crate) struct Delivery {
    body: Body,
    unsent: Option<Unsent>,
}

impl Delivery {
    pub(crate) fn new(body: Body, unsent: Option<Unsent>) -> Self {
        Self { body, unsent }
    }
}

impl HttpBody for Delivery {
    type Data = Chunk;
    type Error = axum::Error;

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

/// Bytes of a body. The last ones hold the mark that their answer is unsent; hyper drops them when they are written.
pub(crate) struct Chunk {
    bytes: Bytes,
    _unsent: Option<Unsent>,
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
