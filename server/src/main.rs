//! The binary `rl-server`: reads its flags, listens, and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rl_server::{
    Config, Limiter, Metrics, Operations, Policies, Shutdown, listen, reload_on_sighup, router,
    serve, site, start_logging,
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
    let flags = &config.serving;
    let shutdown = Shutdown::on_signal(flags)?;
    let listener = listen(&flags.addr, "-addr")?;
    let metrics_listener = match config.operating.metrics_addr.as_str() {
        "" => None,
        addr => Some(listen(addr, "-metrics-addr")?),
    };
    info!("listening on {listener}");
    if let Some(metrics_listener) = &metrics_listener {
        info!("metrics on {metrics_listener}");
    }
    let policy = config.policy.policy();
    let metrics = Arc::new(Metrics::new(policy, config.answers.deny_status));
    let policies = Policies::new(&config.policy, &config.caller, &metrics);
    reload_on_sighup(policies.clone())?;
    let limiter = Limiter::new(&config.redis, &metrics).map_err(io::Error::other)?;
    let operations = Operations::new(limiter.clone(), policy, &metrics, &shutdown);
    let routes = router(&config, policies, limiter, &metrics, &shutdown).merge(operations.health());
    let serve = |listener, routes| serve(listener, site(routes), flags, &metrics, &shutdown);
    match metrics_listener {
        None => serve(listener, routes.merge(operations.metrics())).await,
        Some(metrics_listener) => {
            let operator_routes = operations.standalone();
            tokio::join!(
                serve(listener, routes),
                serve(metrics_listener, operator_routes)
            );
        }
    }
    Ok(())
}
