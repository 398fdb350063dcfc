//! Serves one connection: HTTP/1.1 or HTTP/2, by its first bytes, until it is idle for too long.
//!
//! The bounds of what one connection may hold in memory are here. How many connections there are is up to
//! [`super::acceptor`]. Each request goes to [`Site::screen`] and then to [`Site::routes`]; what they answer is up to
//! [`crate::http`].
//!
//! Hyper closes connections gracefully: it finishes the requests in flight and takes no new ones. It does so here for
//! an idle connection and at shutdown. An eviction does not come through this file; it ends the task.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::time::Instant;
use tower_service::Service;
use tracing::debug;

use super::activity::{Activity, InFlight};
use super::delivery::Delivery;
use super::listener::Stream;
use crate::client_address::Peer;
use crate::config::ServingFlags;
use crate::metrics::{Metrics, RouteLabels};
use crate::site::Site;

/// Maximum size of a request's head in bytes. A larger one gets 431. HTTP/2 counts 32 bytes more for each header than
/// its name and value have.
const HEAD_BYTES: usize = 16 * 1024;

/// Maximum number of bytes of request bodies that an HTTP/2 client may send ahead. No request needs a body, so this is
/// the smallest value that HTTP/2 allows.
const BODY_BYTES: u32 = 65_535;

/// Maximum number of concurrent requests of one HTTP/2 connection. Each takes memory until its response is sent, so
/// this bounds the memory of a client that does not read. At 1 ms for each response it is enough for 16,000 a second.
const MAX_STREAMS: u32 = 16;

/// Maximum number of bytes of one response that HTTP/2 buffers.
const SEND_BYTES: usize = 16 * 1024;

/// How often the server pings an HTTP/2 client. It finds a client that vanished while a request is in flight, where no
/// other time-out applies.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the client may take to answer a ping before its connection is closed.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that the server closes may take, apart from requests in flight. Without it a client that does
/// not read could keep a closing connection open.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What all connections of one listener share. None of it changes once the first is accepted.
pub(crate) struct ConnectionServer {
    /// The bounds above, as hyper takes them.
    builder: Builder<TokioExecutor>,
    /// [`Site::routes`]. Each request clones it, which is cheap.
    routes: Router,
    /// [`Site::screen`].
    screen: fn(&Request<Incoming>) -> Option<Response>,
    metrics: Arc<Metrics>,
    /// `-header-timeout`: how long a new connection may take to send its first request.
    header_timeout: Duration,
    /// `-idle-timeout`: how long a connection may take from a response to its next request.
    idle_timeout: Duration,
}

impl ConnectionServer {
    /// The server of one listener, with `site` for each request.
    pub(crate) fn new(site: Site, flags: &ServingFlags, metrics: Arc<Metrics>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // Hyper's own time-out for heads would close idle connections too, and does not run while hyper detects the
        // version.
        builder
            .http1()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_header_list_size(HEAD_BYTES as u32)
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(SEND_BYTES)
            .initial_connection_window_size(BODY_BYTES)
            .initial_stream_window_size(BODY_BYTES);
        Self {
            builder,
            routes: site.routes,
            screen: site.screen,
            metrics,
            header_timeout: flags.header_timeout,
            idle_timeout: flags.idle_timeout,
        }
    }

    /// Serves one connection until the client closes it, it times out or the server stops. Requests in flight are
    /// finished.
    ///
    /// An error ends this connection only and is logged at level debug: clients can cause any number of them.
    pub(crate) async fn serve(
        self: Arc<Self>,
        (stream, peer): (Stream, Peer),
        activity: Arc<Activity>,
    ) {
        let service = service_fn(|request| self.clone().respond(activity.clone(), peer, request));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let serving = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = activity.timed_out(self.header_timeout, self.idle_timeout) => {
                    self.metrics.connections.count_request_timeout(activity.has_requested());
                }
                () = activity.stopped() => {}
            }
            connection.as_mut().graceful_shutdown();
            activity.touch();
            tokio::select! {
                ended = connection => ended,
                () = activity.timed_out(CLOSE_TIMEOUT, CLOSE_TIMEOUT) => Ok(()),
            }
        };
        if let Err(error) = serving.await {
            if is_time_out(error.as_ref()) {
                self.metrics.connections.response_timeout.inc();
            }
            debug!("{peer}: {error}");
        }
    }

    /// Answers one request, counts it, and marks its response as unsent.
    ///
    /// The duration that is counted is the time until the response was finished, delays by shaping included, and not
    /// the time until it is sent. A request that the screen rejects is counted without its route. Every response gets
    /// `X-Content-Type-Options: nosniff`.
    async fn respond(
        self: Arc<Self>,
        activity: Arc<Activity>,
        peer: Peer,
        mut request: Request<Incoming>,
    ) -> Result<Response<Delivery>, Infallible> {
        let in_flight = InFlight::new(activity);
        let started = Instant::now();
        let (labels, mut response) = match (self.screen)(&request) {
            None => {
                let labels = RouteLabels::new(request.method(), request.uri().path());
                request.extensions_mut().insert(ConnectInfo(peer));
                // The server reads no body, so it keeps none.
                let request = request.map(|_incoming| Body::empty());
                let Ok(response) = self.routes.clone().call(request).await;
                (labels, response)
            }
            Some(rejection) => (RouteLabels::unrouted(request.method()), rejection),
        };
        let nosniff = HeaderValue::from_static("nosniff");
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        let finished = Instant::now();
        let status = response.status();
        let requests = &self.metrics.requests;
        requests.observe(labels, status, finished - started);
        Ok(response.map(|body| Delivery::new(body, in_flight.respond(finished))))
    }
}

/// Whether the kernel closed the connection because the client did not read for too long: the `TCP_USER_TIMEOUT` of the
/// listener. Hyper wraps the error, so the sources are searched.
fn is_time_out(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_time_out)
}
