//! Flags about connections.

/// Where the server listens, and what it puts up with.
#[derive(Clone, Debug, clap::Args)]
pub struct ServingFlags {
    /// Address to listen on; without a host, all addresses of both families
    #[arg(
        long,
        env = "RL_ADDR",
        default_value = ":8080",
        value_name = "[HOST]:PORT"
    )]
    pub addr: String,
}
