//! What the TCP proxy decides of a connection, some of it by chance.

use std::net::IpAddr;
use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

use super::hash::hash_source;
use super::notes::{Notes, Object};
use crate::compile::access_log::{FormatValues, Heads};
use crate::compile::listener::{TcpHash, TcpProxy, TlvMerging, TlvValue, Tunnel, UpstreamTlvs};
use crate::compile::proxy_protocol::Tlv;

impl TcpProxy {
    /// How long this connection may last.
    pub fn longest(&self, random: u64) -> Option<Duration> {
        let share = (random % 10_000) as f64 / 10_000.0;
        let longer = share * self.max_duration_jitter / 100.0;
        Some(self.max_duration?.mul_f64(1.0 + longer))
    }

    /// The pause before the next attempt, after so many: uniform below `base × 2^n`, at most the maximum.
    pub fn pause(&self, made: u32, random: u64) -> Option<Duration> {
        let (base, most) = self.backoff?;
        let ceiling = base.saturating_mul(2_u32.saturating_pow(made)).min(most);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(random.checked_rem(nanos).unwrap_or(0)))
    }

    /// A connection's.
    pub fn hash_of(&self, source: IpAddr, notes: Option<&Notes>) -> Option<u64> {
        match self.hash.as_ref()? {
            TcpHash::Source => Some(hash_source(source)),
            TcpHash::State(key) => {
                let hash = |object: &Object| object.hashable.then(|| xxh64(object.value.as_bytes(), 0));
                notes?.state(key, hash).flatten()
            }
        }
    }

    /// Whether upstreams are connected before the client has said anything, if it says nothing for long.
    pub fn may_be_early(&self) -> bool {
        let by_name = self.by_server_name || self.forward.is_some();
        !by_name && self.tunnel.is_none() && self.after_data.is_none() && self.tlvs.is_none()
    }

    /// Whether it may note something of a connection.
    pub fn notes(&self) -> bool {
        self.tunnel.as_deref().is_some_and(Tunnel::notes)
    }
}

impl UpstreamTlvs {
    /// With those that the client's connection came with. None: it came without the PROXY protocol.
    pub fn merged(&self, came_with: Option<&[Tlv]>, values: &dyn FormatValues) -> Vec<Tlv> {
        let own = || {
            let tlv = |(kind, value): &(u8, TlvValue)| Tlv {
                kind: *kind,
                value: match value {
                    TlvValue::Fixed(bytes) => bytes.clone(),
                    TlvValue::Format(format) => {
                        let mut text = Vec::new();
                        format.write(Heads::default(), values, &mut text);
                        text
                    }
                },
            };
            self.added.iter().map(tlv)
        };
        match (came_with, self.merging) {
            (None, _) => own().collect(),
            (Some(there), TlvMerging::IfAbsent) => there.to_vec(),
            (Some(there), TlvMerging::Appending) => there.iter().cloned().chain(own()).collect(),
            (Some(there), TlvMerging::Overwriting) => {
                let is_added = |tlv: &Tlv| self.added.iter().any(|(kind, _)| *kind == tlv.kind);
                let kept = there.iter().filter(|tlv| !is_added(tlv)).cloned();
                own().chain(kept).collect()
            }
        }
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
            hash: None,
            backoff: None,
            after_data: None,
            tlvs: None,
            on_demand: None,
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

    #[test]
    fn pauses_grow_up_to_the_most() {
        let second = Duration::from_secs(1);
        let proxy = TcpProxy {
            backoff: Some((second, second * 3)),
            ..proxy(0.0)
        };
        let longest = |made| (0..8_000).filter_map(|i| proxy.pause(made, i * 1_000_000)).max();
        assert_eq!(longest(0), Some(Duration::from_millis(999)));
        assert_eq!(longest(1), Some(Duration::from_millis(1_999)));
        assert_eq!(longest(9), Some(Duration::from_millis(2_999)));
        assert_eq!(self::proxy(0.0).pause(0, 7), None);
    }
}
