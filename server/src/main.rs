//! `rl-server`: reads its flags, listens, and serves until SIGTERM or Ctrl-C.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use rl_server::{Config, Limiter, Shutdown, listen, router, serve};
use tracing::{error, info};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    match run(Config::from_command_line()).await {
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
    let listener = listen(&config.serving.addr)?;
    info!("listening on {}", listener.local_addr()?);
    let limiter = Limiter::new(&config.redis).map_err(io::Error::other)?;
    let router = router(limiter, policy, &config.caller, config.answers);
    serve(listener, router, &config.serving, shutdown).await;
    Ok(())
}
