//! What the TCP proxy leaves to chance.

use std::time::Duration;

use crate::compile::listener::TcpProxy;

impl TcpProxy {
    /// How long this connection may last.
    pub fn longest(&self, random: u64) -> Option<Duration> {
        let share = (random % 10_000) as f64 / 10_000.0;
        let longer = share * self.max_duration_jitter / 100.0;
        Some(self.max_duration?.mul_f64(1.0 + longer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(jitter: f64) -> TcpProxy {
        TcpProxy {
            log_options: Default::default(),
            stat_prefix: "tcp".to_owned(),
            by_server_name: false,
            forward: None,
            clusters: Vec::new(),
            metadata: Default::default(),
            hash_source: false,
            idle_timeout: None,
            max_duration: Some(Duration::from_secs(100)),
            max_duration_jitter: jitter,
            max_connect_attempts: 1,
            tunnel: None,
            access_log: Vec::new(),
            origin: None,
        }
    }

    #[test]
    fn a_connection_lasts_longer_by_chance_but_never_less() {
        assert_eq!(proxy(0.0).longest(u64::MAX), Some(Duration::from_secs(100)));
        assert_eq!(proxy(50.0).longest(0), Some(Duration::from_secs(100)));
        assert_eq!(proxy(50.0).longest(5_000), Some(Duration::from_secs(125)));
        let most = (0..10_000).filter_map(|random| proxy(50.0).longest(random)).max();
        assert!(most < Some(Duration::from_secs(150)));
    }
}
