//! Counters whose names a configuration or a request says: filters have them.

/// Who counts. A name is Envoy's, without what it begins with.
pub trait Tally {
    /// Below the connection manager's: `http.STAT_PREFIX.NAME`.
    fn of_manager(&self, name: &str);
    /// Below the cluster's that the request goes to: `cluster.CLUSTER.NAME`.
    fn of_cluster(&self, name: &str, amount: u64);
    /// The same of a time, in milliseconds.
    fn time_of_cluster(&self, name: &str, millis: u64);
    /// An answer that the cluster is charged with, as if it had given it.
    fn answer_of_cluster(&self, _status: u16) {}
    /// By itself.
    fn alone(&self, name: &str);
}

/// Nobody counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uncounted;

impl Tally for Uncounted {
    fn of_manager(&self, _name: &str) {}
    fn of_cluster(&self, _name: &str, _amount: u64) {}
    fn time_of_cluster(&self, _name: &str, _millis: u64) {}
    fn alone(&self, _name: &str) {}
}
