//! How a metric is registered, and how one with a label gives a metric for each of its values.

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

/// Names and values of the labels of one metric.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A metric that is told under this name, to be held by whoever counts.
pub(super) fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// The same with a label: gives the metric of each of its values.
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
