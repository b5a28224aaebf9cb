//! What a client speaks, by its first bytes.

use std::sync::Arc;

use bytes::BytesMut;
use leno_engine::compile::listener::{FilterChain, TerminalFilter};
use leno_telemetry::stats::ListenerStat;

use super::Arrival;
use crate::inspect::{self, Found, Wanted};
use crate::state::ListenerState;
use crate::stream::Stream;
use crate::tcp_proxy::{Early, Origin, Race};

impl Arrival {
    /// Reads until it is known what the client speaks, or the upstream has spoken first. None: the connection is over.
    pub(super) async fn inspect(
        &self,
        stream: &mut Stream,
        prefix: &mut BytesMut,
        wanted: Wanted,
        state: &Arc<ListenerState>,
    ) -> Option<(Found, Option<Early>)> {
        let (silent_chain, _) = self.chain(state, &Found::raw());
        let tcp = silent_chain.as_ref().and_then(|chain| match &chain.terminal {
            TerminalFilter::Tcp(tcp) if chain.tls.is_none() && tcp.may_be_early() => Some(Arc::clone(tcp)),
            _ => None,
        });
        let filters = &state.listener.filters;
        let patience = inspect::patience(filters);
        // Where the server may speak first, the client's time begins with its first byte.
        if let Some(found) = (!prefix.is_empty()).then(|| wanted.inspect(prefix)).flatten() {
            return Some((found, None));
        }
        let mut deadline = tcp.is_none().then(|| tokio::time::Instant::now() + patience);
        let race = Race::default();
        let mut speaks = std::pin::pin!(async {
            let Some(tcp) = &tcp else {
                return std::future::pending().await;
            };
            tokio::time::sleep(inspect::SILENCE).await;
            let of = Origin {
                server_name: None,
                record: None,
                behalf: self.behalf(),
                original: self.told.then_some(self.destination),
                direction: state.listener.direction,
            };
            race.await_server(&self.worker, tcp, &of).await
        });
        loop {
            let silent = prefix.is_empty();
            let late = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                read = inspect::read_more(stream, prefix) => match read {
                    Ok(0) => return Some((Found::raw(), race.won_by_client())),
                    Ok(_) => {
                        if let Some(found) = wanted.inspect(prefix) {
                            let early = (found == Found::raw()).then(|| race.won_by_client()).flatten();
                            return Some((found, early));
                        }
                        deadline.get_or_insert_with(|| tokio::time::Instant::now() + patience);
                    }
                    Err(error) => {
                        tracing::debug!(remote = %self.remote, %error, "client gone before it spoke");
                        return None;
                    }
                },
                early = speaks.as_mut(), if silent => return Some((Found::raw(), Some(early))),
                () = late => {
                    if filters.continue_on_timeout {
                        return Some((Found::raw(), race.won_by_client()));
                    }
                    self.worker
                        .listener_counts(&state.listener.stat_name)
                        .inc(ListenerStat::PreCxTimeout);
                    self.unspoken(&state.listener, prefix.len());
                    return None;
                }
            }
        }
    }

    /// What a client offers by ALPN, where no listener filter has looked: a chain accepts those that it knows, and goes
    /// on without where it knows none.
    pub(super) async fn protocols(
        &self,
        stream: &mut Stream,
        prefix: &mut BytesMut,
        chain: &FilterChain,
    ) -> Option<Vec<Vec<u8>>> {
        let hello = Wanted {
            tls: true,
            http: false,
        };
        let looking = async {
            loop {
                if let Some(found) = hello.inspect(prefix) {
                    return Some(found.protocols);
                }
                match inspect::read_more(stream, prefix).await {
                    Ok(read) if read > 0 => {}
                    _ => return None,
                }
            }
        };
        match tokio::time::timeout(chain.handshake_timeout, looking).await {
            Ok(protocols) => protocols,
            Err(_) => {
                tracing::debug!(remote = %self.remote, "closed: no TLS in time");
                None
            }
        }
    }
}
