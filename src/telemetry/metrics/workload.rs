//! What is told of our identity as a workload.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::declaration::{self, Declare};
use super::labels::TaskLabels;
use super::{FloatGauge, Metrics, seconds, whole};

/// What is told of our identity as a workload.
pub(super) struct WorkloadMetrics {
    svid_expiry: FloatGauge,
    svid_updates: Counter,
    connected: Family<TaskLabels, Gauge>,
    trust_bundles: Family<TaskLabels, Gauge>,
}

impl WorkloadMetrics {
    pub(super) fn new(declare: &mut Declare) -> Self {
        Self {
            svid_expiry: declare.metric(declaration::SVID_EXPIRY, FloatGauge::default()),
            svid_updates: declare.metric(declaration::SVID_UPDATES, Counter::default()),
            connected: declare.metric(declaration::WORKLOAD_API_CONNECTED, Family::default()),
            trust_bundles: declare.metric(declaration::TRUST_BUNDLES, Family::default()),
        }
    }
}

impl Metrics {
    /// Tells when our X509-SVID ends, where we have one.
    pub fn set_svid_expiry(&self, not_after: Option<Timestamp>) {
        let seconds = not_after.map_or(0.0, seconds);
        self.inner.workload.svid_expiry.set(seconds);
    }

    /// Counts an X509-SVID of ours.
    pub fn svid_updated(&self) {
        self.inner.workload.svid_updates.inc();
    }

    /// Tells whether a stream of the Workload API is open.
    pub fn set_workload_api_connected(&self, task: &str, is_connected: bool) {
        let task: Arc<str> = task.into();
        let connected = &self.inner.workload.connected;
        let gauge = connected.get_or_create_owned(&TaskLabels { task });
        gauge.set(i64::from(is_connected));
    }

    /// Tells how many trust domains a stream of the Workload API gave authorities of.
    pub fn set_trust_bundles(&self, task: &str, count: usize) {
        let task: Arc<str> = task.into();
        let bundles = &self.inner.workload.trust_bundles;
        let gauge = bundles.get_or_create_owned(&TaskLabels { task });
        gauge.set(whole(count));
    }
}
