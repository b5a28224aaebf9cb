//! A request's way through the filters of a listener, as far as they answer at once or edit.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use leno_engine::compile::access_log::NoValues;
use leno_engine::compile::http::HttpConnectionManager;
use leno_engine::decide::filter::{
    ConnectionFacts, Context, Effect, EffectResult, HttpFilter, KnownPeers, LocalMetadata, Membership,
    PeerMetadata, Process, Step,
};
use leno_engine::decide::notes::Notes;
use leno_engine::decide::rbac::Peer;
use leno_engine::decide::route::Decision;
use leno_engine::decide::tally::Uncounted;
use leno_engine::decide::wish::Wish;
use leno_engine::flags::Flags;
use leno_engine::message::{LocalReply, RequestHead, ResponseHead};

/// The filters that have something to do with the request.
pub(super) struct Passing {
    filters: Vec<Box<dyn HttpFilter>>,
    state: State,
}

struct State {
    random: u64,
    flags: Flags,
    peer: Option<Rc<PeerMetadata>>,
    peers: KnownPeers,
    local: LocalMetadata,
    facts: ConnectionFacts,
    notes: Notes,
    wish: Option<Wish>,
    reroutes: Cell<bool>,
}

/// Nobody wants anything of it.
struct Alone;

impl Process for Alone {
    fn node_labels(&self, _key: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    fn fails_health_checks(&self) -> bool {
        false
    }

    fn cluster_name(&self) -> &str {
        ""
    }

    fn membership(&self, _cluster: &str) -> Option<Membership> {
        None
    }
}

impl Passing {
    pub(super) fn start(manager: &HttpConnectionManager, decision: &Decision<'_>, random: u64) -> Self {
        let filters = manager.filters.iter();
        Self {
            filters: filters
                .filter_map(|filter| filter.start(decision.filter_config(&filter.name)))
                .collect(),
            state: State {
                random,
                flags: Flags::default(),
                peer: None,
                peers: KnownPeers::default(),
                local: LocalMetadata::default(),
                facts: ConnectionFacts::default(),
                notes: Notes::default(),
                wish: None,
                reroutes: Cell::default(),
            },
        }
    }

    /// The answer of a filter in place of the upstream's.
    pub(super) fn request(&mut self, head: &mut RequestHead) -> Option<LocalReply> {
        for filter in &mut self.filters {
            let mut step = filter.on_request_headers(&mut self.state.context(), head, true);
            // A delay costs a test nothing.
            while let Step::Effect(Effect::Sleep(_)) = step {
                step = filter.on_effect(&mut self.state.context(), EffectResult::Slept);
            }
            if let Step::Reply(reply) = step {
                return Some(reply);
            }
        }
        None
    }

    pub(super) fn response(&mut self, head: &mut ResponseHead) {
        for filter in self.filters.iter_mut().rev() {
            filter.on_response_headers(&mut self.state.context(), head, true);
        }
    }
}

impl State {
    fn context(&mut self) -> Context<'_> {
        let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
        Context {
            ignores_parameters: false,
            routed: true,
            clock: std::time::Instant::now,
            time: || UNIX_EPOCH + Duration::from_secs(1_000_000),
            random: self.random,
            flags: &mut self.flags,
            peer: &mut self.peer,
            peers: &mut self.peers,
            reroutes: &self.reroutes,
            local: &self.local,
            connection: &self.facts,
            caller: Peer {
                source: client,
                address: IpAddr::from([127, 0, 0, 1]),
                destination: ([127, 0, 0, 2], 80).into(),
                server_name: None,
                tls: false,
                uris: &[],
                names: &[],
                subject: "",
            },
            remote: client,
            route_limits: None,
            request: None,
            notes: &self.notes,
            values: &NoValues,
            upstream_principal: None,
            wish: &mut self.wish,
            endpoint: None,
            cluster: None,
            upstream: None,
            by_host: false,
            external: false,
            process: &Alone,
            tally: &Uncounted,
        }
    }
}
