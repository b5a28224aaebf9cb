//! Ports of leno's own, as in Istio.

/// Where captured outbound connections arrive, in the application's namespace.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where mesh traffic arrives, in the host. Listening there is also what reserves an address.
pub const INBOUND_PORT: u16 = 15006;
/// Where captured DNS queries arrive, in the application's namespace.
pub const DNS_PORT: u16 = 15053;
/// Where a sidecar tells its metrics, on the workload's address in the host.
pub const METRICS_PORT: u16 = 15020;
