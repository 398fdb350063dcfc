//! `rl-server`: reads its flags, listens, and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rl_server::{
    Config, Limiter, Metrics, Operations, Shutdown, listen, router, serve, start_logging,
};
use tracing::{error, info};

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::from_command_line();
    start_logging(&config.operating);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> io::Result<()> {
    let shutdown = Shutdown::on_signal(&config.serving)?;
    let policy = config.policy.policy().ok_or(io::ErrorKind::InvalidInput)?;
    let listener = listen(&config.serving.addr, "-addr")?;
    let watched = match config.operating.metrics_addr.as_str() {
        "" => None,
        addr => Some(listen(addr, "-metrics-addr")?),
    };
    info!("listening on {}", listener.local_addr()?);
    let metrics = Arc::new(Metrics::new(policy));
    let limiter = Limiter::new(&config.redis).map_err(io::Error::other)?;
    let operations = Operations::new(limiter.clone(), policy, metrics.clone(), shutdown.clone());
    let routes = router(
        limiter,
        policy,
        &config.caller,
        config.answers,
        metrics.clone(),
    );
    let routes = routes.merge(operations.health());
    let serve = |listener, routes| {
        serve(
            listener,
            routes,
            &config.serving,
            metrics.clone(),
            shutdown.clone(),
        )
    };
    match watched {
        None => serve(listener, routes.merge(operations.metrics())).await,
        Some(watched) => {
            info!("metrics on {}", watched.local_addr()?);
            let operations = operations.health().merge(operations.metrics());
            tokio::join!(serve(listener, routes), serve(watched, operations));
        }
    }
    Ok(())
}
