//! One connection: HTTP/1.1 or HTTP/2, as its first bytes say, and no longer than it asks something.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
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
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;
use tracing::debug;

use super::activity::{Activity, InFlight};
use super::delivery::Delivery;
use crate::config::ServingFlags;
use crate::metrics::{Metrics, RouteLabels};
use crate::shutdown::Shutdown;
use crate::site::Site;

/// The most bytes of a request's head; a longer one is answered 431.
const HEAD_BYTES: usize = 16 * 1024;

/// The most bytes of bodies that HTTP/2 may send ahead. No request needs a body, so that it is HTTP/2's least.
const BODY_BYTES: u32 = 65_535;

/// Requests that one HTTP/2 connection may have at a time. Each takes memory until its answer is sent, so this bounds what a
/// client can hold that reads nothing. It is enough for 16,000 answers a second of a millisecond each.
const STREAMS: u32 = 16;

/// The most bytes that HTTP/2 takes of one answer before they are sent.
const SEND_BYTES: usize = 16 * 1024;

/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection that the server ends may take for what is not a request in flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How connections are served.
pub(crate) struct Http {
    builder: Builder<TokioExecutor>,
    routes: Router,
    screen: fn(&Request<Incoming>) -> Option<Response>,
    metrics: Arc<Metrics>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Http {
    pub(crate) fn new(site: Site, flags: &ServingFlags, metrics: Arc<Metrics>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // Hyper's own time-out for heads would close idle connections too, and does not yet run while the version is read.
        builder
            .http1()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .max_header_list_size(HEAD_BYTES as u32)
            .max_concurrent_streams(STREAMS)
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

    /// Serves it until the client ends it, or it is overdue or the server stops, and it has nothing in flight.
    pub(crate) async fn serve(
        self: Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        activity: Arc<Activity>,
        mut shutdown: Shutdown,
    ) {
        let service = service_fn(|request| self.clone().answer(activity.clone(), peer, request));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let serving = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = activity.timed_out(self.header_timeout, self.idle_timeout) => {
                    self.metrics.connections.count_request_timeout(activity.has_asked());
                }
                _ = shutdown.stop_deadline() => {}
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

    async fn answer(
        self: Arc<Self>,
        activity: Arc<Activity>,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Delivery>, Infallible> {
        let in_flight = InFlight::new(activity);
        let begun = Instant::now();
        let (of, mut response) = match (self.screen)(&request) {
            None => {
                let of = RouteLabels::new(request.method(), request.uri().path());
                request.extensions_mut().insert(ConnectInfo(peer));
                // No body is read, so none is kept.
                let request = request.map(|_incoming| Body::empty());
                let Ok(response) = self.routes.clone().call(request).await;
                (of, response)
            }
            Some(refusal) => (RouteLabels::unrouted(request.method()), refusal),
        };
        let nosniff = HeaderValue::from_static("nosniff");
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        let finished = Instant::now();
        let status = response.status();
        let requests = &self.metrics.requests;
        requests.observe(of, status, finished - begun);
        Ok(response.map(|body| Delivery::new(body, in_flight.answered(finished))))
    }
}

/// Whether the kernel closed the connection, because its peer has read nothing for too long.
fn is_time_out(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || error.source().is_some_and(is_time_out)
}
