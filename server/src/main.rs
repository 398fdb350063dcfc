//! `rl-server`: reads its flags, listens, and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rl_server::{
    Config, Limiter, Metrics, Operations, Shutdown, listen, router, serve, site, start_logging,
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
    let policy = config.policy.policy();
    let listener = listen(&config.serving.addr, "-addr")?;
    let watched = match config.operating.metrics_addr.as_str() {
        "" => None,
        addr => Some(listen(addr, "-metrics-addr")?),
    };
    info!("listening on {}", listener.local_addr()?);
    let metrics = Arc::new(Metrics::new(policy, config.answers.deny_status));
    let limiter = Limiter::new(&config.redis, &metrics).map_err(io::Error::other)?;
    let operations = Operations::new(limiter.clone(), policy, &metrics, &shutdown);
    let routes = router(&config, policy, limiter, &metrics, &shutdown).merge(operations.health());
    let flags = &config.serving;
    match watched {
        None => {
            let site = site(routes.merge(operations.metrics()));
            serve(listener, site, flags, &metrics, &shutdown).await;
        }
        Some(watched) => {
            info!("metrics on {}", watched.local_addr()?);
            tokio::join!(
                serve(listener, site(routes), flags, &metrics, &shutdown),
                serve(
                    watched,
                    site(operations.alone()),
                    flags,
                    &metrics,
                    &shutdown
                ),
            );
        }
    }
    Ok(())
}
