//! `api_type: REST`: a `DiscoveryRequest` in JSON is posted to a cluster, again and again, and its answer taken.
//!
//! One fetch follows the other after `refresh_delay` and up to as much again by chance, as in Envoy; who wants more is not
//! kept waiting for that. The version of what was taken whole goes with each request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::config_source::Polled;
use leno_proto::ToAny;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use leno_xds::StateClient;
use leno_xds::client::{Lookup, Received, Ticket};
use prost::Message;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::said::{Event, Key, Said};
use super::text::Text;
use crate::Proxy;
use crate::resources::Kind;

/// Until something has been taken, a failure is not waited out longer than this.
const SOON: Duration = Duration::from_millis(500);

pub(super) struct Rest {
    /// What is wanted and what is there; its requests are what is posted.
    client: StateClient,
    kind: Kind,
    cluster: String,
    asks: watch::Sender<DiscoveryRequest>,
    /// Somebody wants something that was not asked for yet.
    again: Arc<Notify>,
    /// The last fetch failed, which has been told.
    failing: bool,
    task: JoinHandle<()>,
}

/// What a fetch takes.
struct Fetcher {
    proxy: Arc<Proxy>,
    polled: Polled,
    path: &'static str,
    text: Option<Text>,
    node: Node,
    random: fn() -> u32,
    /// The node in JSON, which takes a while to write.
    written: Option<Value>,
    last: Bytes,
}

// === impl Rest ===

impl Rest {
    pub(super) fn new(
        polled: &Polled,
        (kind, key): (Kind, &Key),
        node: Node,
        proxy: Arc<Proxy>,
        text: Option<Text>,
        random: fn() -> u32,
        events: mpsc::Sender<Said>,
    ) -> Self {
        let mut client = StateClient::new(Node::default());
        client.on_connected();
        let again = Arc::new(Notify::new());
        let (asks, wanted) = watch::channel(DiscoveryRequest::default());
        let fetcher = Fetcher {
            proxy,
            polled: polled.clone(),
            path: kind.path(),
            text,
            node,
            random,
            written: None,
            last: Bytes::new(),
        };
        let (key, news) = (key.clone(), Arc::clone(&again));
        Self {
            client,
            kind,
            cluster: polled.cluster.clone(),
            asks,
            again,
            failing: false,
            task: tokio::spawn(poll(fetcher, wanted, news, key, events)),
        }
    }

    pub(super) fn subscribe(&mut self, name: &str) {
        self.client.subscribe(self.kind.type_url(), name);
        self.ask();
        self.again.notify_one();
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        self.client.unsubscribe(self.kind.type_url(), name);
        self.ask();
    }

    pub(super) fn restore(&mut self, name: &str, version: &str) {
        self.client.restore(self.kind.type_url(), name, version);
    }

    pub(super) fn lookup(&self, name: &str) -> Lookup {
        self.client.lookup(self.kind.type_url(), name)
    }

    pub(super) fn expire(&mut self, name: &str) {
        self.client.expire(self.kind.type_url(), name);
    }

    pub(super) fn receive(&mut self, fetched: Result<DiscoveryResponse, String>) -> Option<Received> {
        match fetched {
            Ok(mut response) => {
                self.failing = false;
                self.kind.type_url().clone_into(&mut response.type_url);
                Some(self.client.on_response(response))
            }
            Err(why) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let (kind, cluster) = (self.kind, &self.cluster);
                    tracing::warn!(?kind, cluster, "{why}; what is known stays in force");
                }
                None
            }
        }
    }

    pub(super) fn finish(&mut self, ticket: Ticket, errors: &[(String, String)]) {
        if let Some(request) = self.client.finish(ticket, errors) {
            self.asks.send_replace(request);
        }
    }

    fn ask(&mut self) {
        if let Some(request) = self.client.next_requests().pop() {
            self.asks.send_replace(request);
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn poll(
    mut fetcher: Fetcher,
    wanted: watch::Receiver<DiscoveryRequest>,
    again: Arc<Notify>,
    key: Key,
    events: mpsc::Sender<Said>,
) {
    let (mut anew, mut taken) = (true, false);
    again.notified().await;
    loop {
        let request = wanted.borrow().clone();
        let fetched = fetcher.fetch(&request, anew).await;
        taken |= fetched.is_ok();
        if let Some(read) = fetched.transpose() {
            let event = Event::Read(read);
            let (key, epoch) = (key.clone(), 0);
            if events.send(Said { key, epoch, event }).await.is_err() {
                return;
            }
        }
        let pause = fetcher.pause();
        anew = tokio::select! {
            () = tokio::time::sleep(if taken { pause } else { pause.min(SOON) }) => false,
            () = again.notified() => true,
        };
    }
}

// === impl Fetcher ===

impl Fetcher {
    /// None: it is as before. `anew`: said even so.
    async fn fetch(
        &mut self,
        request: &DiscoveryRequest,
        anew: bool,
    ) -> Result<Option<DiscoveryResponse>, String> {
        let Some(text) = self.text.clone() else {
            return Err("JSON is not read here".to_owned());
        };
        let body = self.body(request, &text).await?;
        let Polled { cluster, timeout, .. } = &self.polled;
        let (status, answer) = self.proxy.post(cluster, self.path, body, *timeout).await?;
        match status {
            200 if answer == self.last && !anew => return Ok(None),
            200 => {}
            // It is as it was.
            304 => return Ok(None),
            status => return Err(format!("HTTP status {status}")),
        }
        let json = answer.clone();
        let parsed = tokio::task::spawn_blocking(move || {
            let json = std::str::from_utf8(&json).map_err(|_| "not UTF-8".to_owned())?;
            (text.response)(json)
        });
        let wire = parsed.await.map_err(|error| error.to_string())??;
        let response = DiscoveryResponse::decode(wire.as_slice()).map_err(|error| error.to_string())?;
        self.last = answer;
        Ok(Some(response))
    }

    async fn body(&mut self, request: &DiscoveryRequest, text: &Text) -> Result<Vec<u8>, String> {
        let node = match &self.written {
            Some(node) => node.clone(),
            None => {
                let (text, node) = (text.clone(), self.node.clone());
                let written = tokio::task::spawn_blocking(move || (text.json)(&node.to_any()));
                let written = written.await.map_err(|error| error.to_string())??;
                let node: Value = serde_json::from_str(&written).map_err(|error| error.to_string())?;
                self.written.insert(node).clone()
            }
        };
        let mut body = Map::new();
        if !request.version_info.is_empty() {
            body.insert("version_info".to_owned(), json!(request.version_info));
        }
        body.insert("node".to_owned(), node);
        if !request.resource_names.is_empty() {
            body.insert("resource_names".to_owned(), json!(request.resource_names));
        }
        body.insert("type_url".to_owned(), json!(request.type_url));
        serde_json::to_vec(&body).map_err(|error| error.to_string())
    }

    fn pause(&self) -> Duration {
        let by_chance = f64::from((self.random)()) / f64::from(u32::MAX);
        self.polled.every + self.polled.every.mul_f64(by_chance)
    }
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::Runtime => "/v3/discovery:runtime",
            Self::Endpoints => "/v3/discovery:endpoints",
            Self::Secret => "/v3/discovery:secrets",
            Self::Cluster => "/v3/discovery:clusters",
            Self::Route => "/v3/discovery:routes",
            Self::Scope => "/v3/discovery:scoped-routes",
            Self::Extension => "/v3/discovery:extension_configs",
            // Refused where it is said: there is no such path.
            Self::VirtualHost => "/v3/discovery:virtual-hosts",
            Self::Listener => "/v3/discovery:listeners",
        }
    }
}
