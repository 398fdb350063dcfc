//! The binary `rl-server`: reads its flags, listens, and serves until SIGTERM or Ctrl-C.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use mimalloc::MiMalloc;
use rl_server::{
    Config, Limiter, Metrics, Operations, Policies, Shutdown, Threads, listen, reload_on_sighup,
    routers, serve, site, start_logging,
};
use tokio::runtime::Handle;
use tracing::{error, info};

/// Frees memory where it was allocated, with less CPU than the allocator of glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let config = Config::from_command_line();
    start_logging(&config.operating);
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// This thread accepts the connections that the others serve, and serves those of `-metrics-addr` itself.
#[tokio::main(flavor = "current_thread")]
async fn run(config: &Config) -> io::Result<()> {
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
    let threads = Threads::start(flags.threads())?;
    let limiters = Limiter::start(&config.redis, &metrics, &threads).map_err(io::Error::other)?;
    let operations = Operations::new(limiters[0].clone(), policy, &metrics, &shutdown);
    let mut common = operations.health();
    if metrics_listener.is_none() {
        common = common.merge(operations.metrics());
    }
    let routers = routers(config, &policies, &limiters, &metrics, &shutdown).into_iter();
    let runtimes = threads.iter().map(|thread| thread.runtime().clone());
    let sites = runtimes.zip(routers.map(|routes| site(routes.merge(common.clone()))));
    let sites = sites.collect();
    let serve = |listener, sites| serve(listener, sites, flags, &metrics, &shutdown);
    match metrics_listener {
        None => serve(listener, sites).await,
        Some(metrics_listener) => {
            let operator_site = site(operations.standalone());
            let here = vec![(Handle::current(), operator_site)];
            tokio::join!(serve(listener, sites), serve(metrics_listener, here));
        }
    }
    Ok(())
}
