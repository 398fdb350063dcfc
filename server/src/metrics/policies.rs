//! Reloads of the policies file.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::family::by_label;

/// Counts reloads by result.
pub(crate) struct PolicyMetrics {
    /// The file was read, and its policies are in force.
    pub(crate) reloaded: Counter,
    /// The file is faulty, and the policies from before stay in force.
    pub(crate) failed: Counter,
}

impl PolicyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Reloads of the policies file";
        let reloads = by_label(registry, "policies_reloads", help, "result");
        Self {
            reloaded: reloads("ok"),
            failed: reloads("error"),
        }
    }
}
