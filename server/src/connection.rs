//! One connection: HTTP/1.1 or HTTP/2, as its first bytes say, and no longer than it asks something.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tracing::debug;

use crate::activity::{Activity, InFlight};
use crate::config::ServingFlags;
use crate::metrics::{Metrics, Question};
use crate::shutdown::Shutdown;

/// The most bytes of a request's head; a longer one is answered 431.
const HEAD_BYTES: usize = 16 * 1024;

/// The most bytes of bodies that HTTP/2 may send ahead. No request needs a body, so that it is HTTP/2's least.
const BODY_BYTES: u32 = 65_535;

/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection that the server ends may take for what is not a request in flight.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How connections are served.
pub(crate) struct Http {
    builder: Builder<TokioExecutor>,
    routes: TowerToHyperService<Router>,
    metrics: Arc<Metrics>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Http {
    pub(crate) fn new(routes: Router, flags: &ServingFlags, metrics: Arc<Metrics>) -> Self {
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
            .initial_connection_window_size(BODY_BYTES)
            .initial_stream_window_size(BODY_BYTES);
        Self {
            builder,
            routes: TowerToHyperService::new(routes),
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
                () = activity.is_overdue(self.header_timeout, self.idle_timeout) => {
                    self.metrics.connections.overdue(activity.has_asked());
                }
                _ = shutdown.stopping() => {}
            }
            connection.as_mut().graceful_shutdown();
            activity.touch();
            tokio::select! {
                ended = connection => ended,
                () = activity.is_overdue(LAST_WORDS, LAST_WORDS) => Ok(()),
            }
        };
        if let Err(error) = serving.await {
            debug!("{peer}: {error}");
        }
    }

    async fn answer(
        self: Arc<Self>,
        activity: Arc<Activity>,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let _in_flight = InFlight::new(activity);
        let begun = Instant::now();
        let of = Question::of(request.method(), request.uri().path());
        request.extensions_mut().insert(ConnectInfo(peer));
        let Ok(response) = self.routes.call(request).await;
        self.metrics
            .requests
            .answered(of, response.status(), begun.elapsed());
        Ok(response)
    }
}
