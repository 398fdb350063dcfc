//! One connection to Redis as bytes: calls leave in order, and each reply goes to the oldest call without one.
//!
//! Calls of many tasks wait in one buffer, which leaves in one write. [`Driver`] reads and writes, in one task.
//! [`Pipeline`] is what the tasks of requests hold. What calls and replies mean is up to [`super::wire`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::resp::{Malformed, Reply, read_reply};

/// Bytes that one read of the socket takes at most. A reply has about 40.
const READ_BYTES: usize = 16 * 1024;

/// A socket, with TLS or without.
pub(super) type Stream = Box<dyn ReadWrite>;

/// Reads and writes bytes.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for S {}

/// The connection was closed before a reply arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Sends calls over one connection. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Pipeline(Arc<Shared>);

/// Reads and writes the bytes of one connection, until either side closes it.
pub(super) struct Driver {
    shared: Arc<Shared>,
    stream: Stream,
    /// Bytes of Redis that are no whole reply yet.
    incoming: BytesMut,
    /// Calls that are being written. Empty before [`State::outgoing`] is taken.
    writing: io::Cursor<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Calls that wait to be written.
    outgoing: Vec<u8>,
    /// The calls without a reply, oldest first. A caller that no longer waits keeps its place.
    waiting: VecDeque<oneshot::Sender<Reply>>,
    /// Wakes the driver. Empty while it is awake.
    driver: Option<Waker>,
    /// Whether no call is sent any more.
    is_closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all calls that wait, and refuses later ones.
    fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = mem::take(&mut state.waiting);
        let driver = state.driver.take();
        // Both can wake other tasks.
        drop(state);
        drop(waiting);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Pipeline {
    /// A connection over this socket. It works only while the driver is polled.
    pub(super) fn new(stream: Stream) -> (Self, Driver) {
        let shared = Arc::new(Shared::default());
        let driver = Driver {
            shared: shared.clone(),
            stream,
            incoming: BytesMut::new(),
            writing: io::Cursor::default(),
        };
        (Self(shared), driver)
    }

    /// Sends the call that `write` appends, and waits for its reply. Once it is polled, dropping the future does not recall
    /// the call: Redis executes it, and its reply is discarded.
    pub(super) async fn call(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<Reply, Closed> {
        let (sender, receiver) = oneshot::channel();
        self.send(write, [sender]);
        receiver.await.map_err(|_dropped| Closed)
    }

    /// Sends as many calls as `write` appends, which must be `count`. No other call comes between them.
    pub(super) async fn calls(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Reply>, Closed> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
        self.send(write, senders);
        let mut replies = Vec::with_capacity(count);
        for receiver in receivers {
            replies.push(receiver.await.map_err(|_dropped| Closed)?);
        }
        Ok(replies)
    }

    /// Appends calls to those that wait, and wakes the driver. Each sender gets the reply to one of them; if the
    /// connection is closed, they are dropped.
    fn send(
        &self,
        write: impl FnOnce(&mut Vec<u8>),
        senders: impl IntoIterator<Item = oneshot::Sender<Reply>>,
    ) {
        let mut state = self.0.state();
        if !state.is_closed {
            write(&mut state.outgoing);
            state.waiting.extend(senders);
        }
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The [`Pipeline`] was dropped.
    Dropped,
    /// The other side closed it, or an error did.
    Lost(io::Error),
    /// Redis sent something other than a reply to a call.
    Mismatched,
}

impl Future for Driver {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        // First, because a call may arrive at any time from another thread.
        if self.is_closed(context) {
            return Poll::Ready(End::Dropped);
        }
        if let Poll::Ready(Err(end)) = self.read(context) {
            return Poll::Ready(end);
        }
        self.write(context)
    }
}

impl Driver {
    /// Whether this side closed the connection. If not, the next call or the close wakes the driver.
    fn is_closed(&self, context: &Context<'_>) -> bool {
        let mut state = self.shared.state();
        state.driver = Some(context.waker().clone());
        state.is_closed
    }

    /// Reads and hands out replies until there are none.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<Infallible, End>> {
        loop {
            self.incoming.reserve(READ_BYTES);
            let stream = Pin::new(&mut self.stream);
            if ready!(poll_read_buf(stream, context, &mut self.incoming)).map_err(End::Lost)? == 0 {
                return Poll::Ready(Err(End::Lost(io::ErrorKind::UnexpectedEof.into())));
            }
            self.deliver()?;
        }
    }

    /// Hands each whole reply to the oldest call without one.
    fn deliver(&mut self) -> Result<(), End> {
        let mut state = self.shared.state();
        while let Some((reply, length)) =
            read_reply(&self.incoming).map_err(|Malformed| End::Mismatched)?
        {
            self.incoming.advance(length);
            let caller = state.waiting.pop_front().ok_or(End::Mismatched)?;
            // An error: the caller no longer waits.
            let _ = caller.send(reply);
        }
        Ok(())
    }

    /// Writes the calls that wait, until there are none or the socket takes no more.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            while self.writing.has_remaining() {
                let stream = Pin::new(&mut self.stream);
                match ready!(poll_write_buf(stream, context, &mut self.writing)) {
                    Ok(0) => return Poll::Ready(End::Lost(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(End::Lost(error)),
                }
            }
            if !self.take_outgoing() {
                // A stream with TLS holds bytes back until then.
                return match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(End::Lost(error)),
                };
            }
        }
    }

    /// Takes the calls that wait to be written. False if there are none.
    fn take_outgoing(&mut self) -> bool {
        let mut state = self.shared.state();
        if state.outgoing.is_empty() {
            return false;
        }
        // The two buffers swap, so that neither is allocated again.
        let mut written = mem::take(&mut self.writing).into_inner();
        written.clear();
        self.writing = io::Cursor::new(mem::replace(&mut state.outgoing, written));
        true
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.close();
    }
}
