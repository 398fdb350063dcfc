//! Registers metrics: one without labels, or one for each value of a label.
//!
//! A handle is a clone that shares its value with the registry. Make handles once, at the start: making one looks its
//! labels up under a lock, updating it does not.

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

/// The names and values of `N` labels.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Registers a metric and returns the handle that updates it.
///
/// `name` comes without the prefix of `registry`, and without the `_total` of a counter. `help` has no full stop,
/// because the text format adds one.
pub(super) fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric with one label. The returned function makes the handle for a value of the label.
///
/// A value shows in the metrics, as zero, once its handle was made.
pub(super) fn by_label<M>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
) -> impl Fn(&'static str) -> M + use<M>
where
    M: Metric + TypedMetric + Clone + Default,
{
    let family: Family<Labels<1>, M> = registered(registry, name, help);
    move |value| family.get_or_create_owned(&[(label, value)])
}
