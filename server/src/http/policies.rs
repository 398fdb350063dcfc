//! The policies in force, by name, and reading their file again.
//!
//! The file's grammar is in [`crate::config`]. A request keeps the policy that it began with, so a reload neither loses a
//! request nor decides one twice.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderName;
use rl_bucket::Algorithm;
use tracing::{error, info, warn};

use crate::config::policies::{self, DEFAULT};
use crate::config::{CallerFlags, NamedPolicy, PolicyFlags};
use crate::metrics::{Metrics, PolicyCounters};

/// A policy in force.
#[derive(Clone)]
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

/// The policies in force. All clones have the same ones.
///
/// Each thread has a clone, with copies of its own: the count of references to one copy would be memory that all cores
/// change for each request.
pub struct Policies {
    shared: Arc<Shared>,
    default: Arc<ActivePolicy>,
    /// Copies of the named policies, and the version that they are of. `None` before the first request for one.
    named: Mutex<Option<(u64, ByName)>>,
}

struct Shared {
    /// The value of `-policies`. Empty without it.
    file: String,
    /// Whether no peer may send the headers that distinguish callers.
    trusts_nobody: bool,
    metrics: Arc<Metrics>,
    named: Mutex<ByName>,
    /// The number of times that `named` was replaced.
    version: AtomicU64,
}

impl Clone for Policies {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            default: Arc::new(ActivePolicy::clone(&self.default)),
            named: Mutex::default(),
        }
    }
}

impl Policies {
    /// The policy of `-rate` and `-burst`, and those of the file as it was when the flags were read.
    ///
    /// Logs a warning for each header of a policy that cannot count under the flags of `caller`, then and at each reload.
    #[must_use]
    pub fn new(flags: &PolicyFlags, caller: &CallerFlags, metrics: &Arc<Metrics>) -> Self {
        let default = NamedPolicy::by_address(DEFAULT, flags.policy());
        let shared = Shared {
            file: flags.policies.clone(),
            trusts_nobody: caller.trusts_nobody(),
            metrics: metrics.clone(),
            named: Mutex::default(),
            version: AtomicU64::new(0),
        };
        let policies = Self {
            shared: Arc::new(shared),
            default: Arc::new(ActivePolicy::new(default, metrics)),
            named: Mutex::default(),
        };
        policies.replace(flags.named.clone());
        policies
    }

    /// Reads the file again. If it has errors, the policies from before stay in force. Logs what happened.
    pub fn reload(&self) {
        let (file, metrics) = (&self.shared.file, &self.shared.metrics);
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
        let Shared { metrics, named, .. } = &*self.shared;
        if self.shared.trusts_nobody {
            policies.iter().for_each(warn_of_headers);
        }
        let new = active(policies, metrics);
        let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *named, new);
        self.shared.version.fetch_add(1, Ordering::Release);
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
        self.default.clone()
    }

    /// A number that changes whenever other policies are in force.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// The policies of the file, sorted by name.
    pub(crate) fn named(&self) -> Vec<NamedPolicy> {
        let named = self.shared.named.lock();
        let named = named.unwrap_or_else(PoisonError::into_inner);
        let mut policies: Vec<_> = named.values().map(|active| active.policy.clone()).collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        policies
    }

    /// The policy with this name. `None` if there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<ActivePolicy>> {
        if name == DEFAULT {
            return Some(self.default_policy());
        }
        let version = self.version();
        let mut copies = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        match &*copies {
            Some((of, by_name)) if *of == version => by_name.get(name).cloned(),
            _ => {
                let (_, by_name) = copies.insert(self.shared.copies());
                by_name.get(name).cloned()
            }
        }
    }
}

impl Shared {
    /// Copies of the named policies, and their version.
    fn copies(&self) -> (u64, ByName) {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = |(name, policy): (&String, &Arc<ActivePolicy>)| {
            (name.clone(), Arc::new(ActivePolicy::clone(policy)))
        };
        // The lock is held while the version changes.
        let version = self.version.load(Ordering::Acquire);
        (version, named.iter().map(copy).collect())
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
