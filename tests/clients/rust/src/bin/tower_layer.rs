//! A tower layer that limits the requests of each caller. Usage: `tower_layer PORT KEY...` sends a request of each key
//! through it, and prints the status and Retry-After of the response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header::RETRY_AFTER};
use redis::RedisResult;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

#[derive(Clone)]
struct RateLimit(ConnectionManager);

impl<S> Layer<S> for RateLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited {
            inner,
            redis: self.0.clone(),
        }
    }
}

#[derive(Clone)]
struct Limited<S> {
    inner: S,
    redis: ConnectionManager,
}

impl<S, B, R> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone); // the one that is ready
        let mut redis = self.redis.clone();
        let caller = request
            .headers()
            .get("x-api-key")
            .map_or(&b""[..], HeaderValue::as_bytes);
        let mut call = redis::cmd("RL.TOKEN");
        call.arg([b"api:", caller].concat()).arg("10/m").arg(2);
        Box::pin(async move {
            let reply: RedisResult<(i64, i64, i64, i64, i64)> = call.query_async(&mut redis).await;
            match reply {
                Ok((0, _limit, _remaining, retry_after_ms, _reset_after_ms)) => {
                    let mut denied = Response::new(R::default());
                    *denied.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                    let seconds = (retry_after_ms + 999) / 1000;
                    denied.headers_mut().insert(RETRY_AFTER, seconds.into());
                    Ok(denied)
                }
                // Allowed, or Redis is away: then requests pass.
                _ => inner.call(request).await,
            }
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = format!("redis://127.0.0.1:{}", arguments.next().ok_or("no port")?);
    let deadline = std::env::var("DEADLINE_MS").map_or(Ok(100), |ms| ms.parse())?;
    let deadline = Some(Duration::from_millis(deadline));
    // It sends no call twice. With retries of the connection, a call waits for them beyond the deadline.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_response_timeout(deadline)
        .set_connection_timeout(deadline);
    let redis = ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?;
    let answer =
        async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new("the application"));
    let mut service = ServiceBuilder::new()
        .layer(RateLimit(redis))
        .service_fn(answer);
    for key in arguments {
        let request = Request::builder().header("x-api-key", &key).body(())?;
        let response = service.ready().await?.call(request).await?;
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .map_or("", |seconds| seconds.to_str().unwrap_or("?"));
        println!("{key} {} {wait}", response.status().as_u16());
    }
    Ok(())
}
