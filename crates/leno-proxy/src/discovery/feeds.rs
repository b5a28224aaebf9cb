//! Where resources come from: one feed for each source, for as long as something of it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::config_source::{Origin, Source};
use leno_proto::envoy::config::core::v3::Node;
use leno_xds::client::{Lookup, Received, Ticket};
use tokio::sync::mpsc;

use super::file::File;
use super::rest::Rest;
use super::said::{Event, Key, Said};
use super::stream::{Stream, Via};
use super::text::Text;
use crate::Proxy;
use crate::grpc;
use crate::reach::Reach;
use crate::resources::{Kind, Name};

/// Messages that wait to be taken: a control plane that says more waits itself.
const WAITING: usize = 4;

pub(super) struct Feeds {
    node: Node,
    proxy: Arc<Proxy>,
    reach: Reach,
    ads: Option<Stream>,
    streams: BTreeMap<Key, Stream>,
    files: BTreeMap<Key, File>,
    rest: BTreeMap<Key, Rest>,
    text: Option<Text>,
    random: fn() -> u32,
    events: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
}

/// Whether the stream to the control plane is there.
pub(super) enum Connection {
    Same,
    Opened,
    Lost {
        peer: String,
        error: grpc::Error,
        wait: Duration,
    },
}

// === impl Feeds ===

impl Feeds {
    pub(super) fn new(
        node: Node,
        ads: Option<Via>,
        text: Option<Text>,
        random: fn() -> u32,
        proxy: Arc<Proxy>,
    ) -> Self {
        let (events, said) = mpsc::channel(WAITING);
        Self {
            reach: Reach::new(&proxy),
            ads: ads.map(|via| Stream::new(node.clone(), via, None)),
            node,
            proxy,
            streams: BTreeMap::new(),
            files: BTreeMap::new(),
            rest: BTreeMap::new(),
            text,
            random,
            events,
            said,
        }
    }

    /// Whether anything can come from there.
    pub(super) fn has(&self, origin: &Origin) -> bool {
        *origin != Origin::Ads || self.ads.is_some()
    }

    pub(super) fn ads_is_delta(&self) -> bool {
        self.ads.as_ref().is_some_and(Stream::is_delta)
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Said {
        match self.said.recv().await {
            Some(said) => said,
            // Never: one sender is here.
            None => std::future::pending().await,
        }
    }

    /// Asks for a name, or for all.
    pub(super) fn subscribe(&mut self, source: &Source, kind: Kind, name: &str) {
        let key = Key::new(source, kind);
        match key.origin() {
            Origin::Ads => match &mut self.ads {
                Some(stream) => stream.subscribe(kind.type_url(), name),
                // Whatever says so was refused for it.
                None => tracing::debug!(?kind, name, "there is no ADS"),
            },
            Origin::Stream(control) => {
                let stream = self.streams.entry(key.clone()).or_insert_with(|| {
                    Stream::new(self.node.clone(), Via::Cluster(control.clone()), Some(kind))
                });
                stream.subscribe(kind.type_url(), name);
            }
            Origin::File(watched) => {
                let file = self.files.entry(key.clone()).or_insert_with(|| {
                    File::new(watched, kind, &key, self.events.clone(), self.text.clone())
                });
                file.subscribe(name);
            }
            Origin::Rest(polled) => {
                let rest = self.rest.entry(key.clone()).or_insert_with(|| {
                    let (node, proxy) = (self.node.clone(), Arc::clone(&self.proxy));
                    let (text, events) = (self.text.clone(), self.events.clone());
                    Rest::new(polled, (kind, &key), node, proxy, text, self.random, events)
                });
                rest.subscribe(name);
            }
        }
    }

    /// No longer asks for it; a source of which nothing is asked is let go.
    pub(super) fn unsubscribe(&mut self, source: &Source, (kind, name): &Name) {
        let key = Key::new(source, *kind);
        self.proxy.handle().updates().forget(&(*kind, name.clone()));
        if let Some(stream) = self.stream(&key) {
            stream.unsubscribe(kind.type_url(), name);
        }
        if let Some(file) = self.files.get_mut(&key) {
            file.unsubscribe(name);
        }
        if let Some(rest) = self.rest.get_mut(&key) {
            rest.unsubscribe(name);
        }
    }

    /// Sources that are asked for nothing any more end.
    pub(super) fn retain(&mut self, still: impl Fn(Kind, &Origin) -> bool) {
        self.streams
            .retain(|key, _| key.kind().is_none_or(|kind| still(kind, key.origin())));
        self.files
            .retain(|key, _| key.kind().is_none_or(|kind| still(kind, key.origin())));
        self.rest
            .retain(|key, _| key.kind().is_none_or(|kind| still(kind, key.origin())));
    }

    /// For types that are no resources of the proxy's configuration: by ADS alone.
    pub(super) fn subscribe_type(&mut self, type_url: &str) {
        if let Some(stream) = &mut self.ads {
            stream.subscribe(type_url, leno_xds::WILDCARD);
        }
    }

    pub(super) fn set_health(&mut self, unhealthy: Option<String>) {
        if let Some(stream) = &mut self.ads {
            stream.set_health(unhealthy);
        }
    }

    pub(super) fn lookup(&self, source: &Source, (kind, name): &Name) -> Lookup {
        let key = Key::new(source, *kind);
        let stream = match key.origin() {
            Origin::Ads => self.ads.as_ref(),
            _ => self.streams.get(&key),
        };
        match (stream, self.files.get(&key), self.rest.get(&key)) {
            (Some(stream), ..) => stream.lookup(kind.type_url(), name),
            (None, Some(file), _) => file.lookup(name),
            (None, None, Some(rest)) => rest.lookup(name),
            (None, None, None) => Lookup::Unsubscribed,
        }
    }

    /// An earlier process had it from there, and it is in force.
    pub(super) fn restore(&mut self, source: &Source, (kind, name): &Name, version: &str) {
        if let Some(stream) = self.stream(&Key::new(source, *kind)) {
            stream.restore(kind.type_url(), name, version);
        } else if let Some(rest) = self.rest.get_mut(&Key::new(source, *kind)) {
            rest.restore(name, version);
        }
    }

    pub(super) fn expire(&mut self, source: &Source, (kind, name): &Name) {
        let key = Key::new(source, *kind);
        if let Some(stream) = self.stream(&key) {
            stream.expire(kind.type_url(), name);
        } else if let Some(rest) = self.rest.get_mut(&key) {
            rest.expire(name);
        }
    }

    /// Opens what is not open and asks for what is new.
    pub(super) fn flush(&mut self) {
        for (key, stream) in self
            .ads
            .iter_mut()
            .map(|s| (Key::ads(), s))
            .chain(self.streams.iter_mut().map(|(key, stream)| (key.clone(), stream)))
        {
            stream.open(&self.proxy, &mut self.reach, &key, &self.events, Duration::ZERO);
            stream.flush();
        }
    }

    /// What a feed has told: the resources in it, and what it means for the connection.
    pub(super) fn take(&mut self, said: Said, random: u32) -> (Option<(Key, Received)>, Connection) {
        let Said { key, epoch, event } = said;
        if let Event::Read(read) = event {
            let received = match (self.files.get_mut(&key), self.rest.get_mut(&key)) {
                (Some(file), _) => file.receive(read),
                (None, Some(rest)) => rest.receive(read),
                (None, None) => None,
            };
            return (received.map(|received| (key, received)), Connection::Same);
        }
        let stream = match key.origin() {
            Origin::Ads => self.ads.as_mut(),
            _ => self.streams.get_mut(&key),
        };
        let Some(stream) = stream.filter(|stream| stream.epoch() == epoch) else {
            return (None, Connection::Same);
        };
        match event {
            Event::Opened(out) => {
                stream.opened(out);
                (None, Connection::Opened)
            }
            Event::Message(message) => {
                let received = stream.receive(message);
                (received.map(|received| (key, received)), Connection::Same)
            }
            Event::Lost(error) => {
                let peer = stream.peer();
                let wait = stream.lost(random);
                stream.open(&self.proxy, &mut self.reach, &key, &self.events, wait);
                (None, Connection::Lost { peer, error, wait })
            }
            Event::Read(_) => (None, Connection::Same),
        }
    }

    pub(super) fn finish(&mut self, key: &Key, ticket: Ticket, errors: &[(String, String)]) {
        if let Some(file) = self.files.get_mut(key) {
            file.finish(ticket, errors);
        } else if let Some(rest) = self.rest.get_mut(key) {
            rest.finish(ticket, errors);
        } else if let Some(stream) = self.stream(key) {
            stream.finish(ticket, errors);
        }
    }

    fn stream(&mut self, key: &Key) -> Option<&mut Stream> {
        match key.origin() {
            Origin::Ads => self.ads.as_mut(),
            _ => self.streams.get_mut(key),
        }
    }
}
