//! The policies in force, by name, and reading their file again.
//!
//! The file's grammar is in [`crate::config`]. A request keeps the policy that it began with, so a reload neither loses a
//! request nor decides one twice.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderName;
use rl_bucket::Algorithm;
use tracing::{error, info, warn};

use crate::config::policies::{self, DEFAULT};
use crate::config::{CallerFlags, NamedPolicy, PolicyFlags};
use crate::metrics::{Metrics, PolicyCounters};

/// A policy in force.
pub(crate) struct ActivePolicy {
    pub(crate) policy: NamedPolicy,
    pub(crate) counters: PolicyCounters,
    /// The path of its token buckets and that of its leaky buckets, for problem details.
    paths: [String; 2],
}

impl ActivePolicy {
    fn new(policy: NamedPolicy, metrics: &Metrics) -> Self {
        let path = |algorithm: &str| match policy.is_default() {
            true => format!("/{algorithm}"),
            false => format!("/{algorithm}/{}", policy.name),
        };
        Self {
            paths: [Algorithm::Token.name(), Algorithm::Leaky.name()].map(path),
            counters: metrics.decisions.of_policy(&policy.name),
            policy,
        }
    }

    /// The path of the policy, without anything below it.
    pub(crate) fn path(&self, algorithm: Algorithm) -> &str {
        let [token, leaky] = &self.paths;
        match algorithm {
            Algorithm::Token => token,
            Algorithm::Leaky => leaky,
        }
    }
}

type ByName = HashMap<String, Arc<ActivePolicy>>;

/// The policies in force. Clones share them.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    /// The value of `-policies`. Empty without it.
    file: String,
    /// Whether no peer may send the headers that distinguish callers.
    trusts_nobody: bool,
    metrics: Arc<Metrics>,
    default: Arc<ActivePolicy>,
    named: RwLock<ByName>,
}

impl Policies {
    /// The policy of `-rate` and `-burst`, and those of the file as it was when the flags were read.
    ///
    /// Logs a warning for each header of a policy that cannot count under the flags of `caller`, then and at each reload.
    #[must_use]
    pub fn new(flags: &PolicyFlags, caller: &CallerFlags, metrics: &Arc<Metrics>) -> Self {
        let default = NamedPolicy::by_address(DEFAULT, flags.policy());
        let policies = Self(Arc::new(Inner {
            file: flags.policies.clone(),
            trusts_nobody: caller.trusts_nobody(),
            metrics: metrics.clone(),
            default: Arc::new(ActivePolicy::new(default, metrics)),
            named: RwLock::default(),
        }));
        policies.replace(flags.named.clone());
        policies
    }

    /// Reads the file again. If it has errors, the policies from before stay in force. Logs what happened.
    pub fn reload(&self) {
        let (file, metrics) = (&self.0.file, &self.0.metrics);
        if file.is_empty() {
            warn!("SIGHUP: nothing to read again without -policies");
            return;
        }
        match policies::read(Path::new(file)) {
            Ok(policies) => {
                let count = policies.len();
                let removed = self.replace(policies).join(", ");
                info!("{file}: {count} policies are in force; removed: [{removed}]");
                metrics.policies.reloaded.inc();
            }
            Err(errors) => {
                for reason in errors {
                    error!("{reason}");
                }
                warn!("{file}: not reloaded; the policies from before stay in force");
                metrics.policies.failed.inc();
            }
        }
    }

    /// Puts these policies in force. Returns the names that are no longer there.
    fn replace(&self, policies: Vec<NamedPolicy>) -> Vec<String> {
        let Inner { metrics, named, .. } = &*self.0;
        if self.0.trusts_nobody {
            policies.iter().for_each(warn_of_headers);
        }
        let new = active(policies, metrics);
        let mut named = named.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *named, new);
        let mut removed: Vec<String> = old.into_keys().collect();
        removed.retain(|name| !named.contains_key(name));
        removed.sort();
        for name in &removed {
            metrics.decisions.remove_policy(name);
        }
        removed
    }

    /// The policy of `-rate` and `-burst`.
    pub(crate) fn default_policy(&self) -> Arc<ActivePolicy> {
        self.0.default.clone()
    }

    /// The policy with this name. `None` if there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<ActivePolicy>> {
        if name == DEFAULT {
            return Some(self.default_policy());
        }
        let named = self.0.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(name).cloned()
    }
}

fn active(policies: Vec<NamedPolicy>, metrics: &Metrics) -> ByName {
    let active = policies.into_iter().map(|policy| {
        let name = policy.name.clone();
        (name, Arc::new(ActivePolicy::new(policy, metrics)))
    });
    active.collect()
}

fn warn_of_headers(policy: &NamedPolicy) {
    let headers: BTreeSet<&str> = policy.headers().map(HeaderName::as_str).collect();
    for header in headers {
        warn!(
            "policy {}: the header {header} never counts, because no peer is trusted: \
             set -trusted-proxies or -trust-caller",
            policy.name
        );
    }
}
