//! A control plane that says what it is told to and writes down what it is asked, in both protocols and on every path.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use leno_proto::google::protobuf::Any;
use leno_proto::type_url::VIRTUAL_HOST;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;

/// Ends when dropped.
pub struct Plane {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _background: Background,
}

#[derive(Default)]
struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
    types: BTreeMap<String, Of>,
    /// What was asked, by type.
    log: BTreeMap<String, Vec<String>>,
    /// Answers that nobody has acknowledged or refused yet: the stream, the type, the nonce.
    open: BTreeSet<(usize, String, String)>,
    streams: usize,
}

/// All there is of a type.
#[derive(Clone, Default)]
struct Of {
    version: String,
    resources: BTreeMap<String, Any>,
}

/// What one stream has of a type.
#[derive(Default)]
struct Asked {
    names: BTreeSet<String>,
    all: bool,
    nonce: u32,
    version: String,
    /// Delta: name to version.
    sent: BTreeMap<String, Bytes>,
}

impl Plane {
    pub fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let background = Background::start();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        background.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&serving)));
            }
        });
        Self {
            address,
            shared,
            _background: background,
        }
    }

    /// From now on this is all there is of the type.
    pub fn set(&self, type_url: &str, version: &str, resources: Vec<(&str, Any)>) {
        let resources = resources.into_iter();
        let of = Of {
            version: version.to_owned(),
            resources: resources.map(|(name, any)| (name.to_owned(), any)).collect(),
        };
        self.world().types.insert(type_url.to_owned(), of);
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// What was asked of a type, a line each.
    pub fn asked(&self, type_url: &str) -> Vec<String> {
        self.world().log.get(type_url).cloned().unwrap_or_default()
    }

    /// Whether everything that was said has been acknowledged or refused.
    pub fn is_quiet(&self) -> bool {
        self.world().open.is_empty()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // The proxy is gone: so is the stream.
            let path = head.uri.path().to_owned();
            let extra = head
                .headers
                .get("x-said")
                .map(|said| said.to_str().unwrap().to_owned());
            let own = path.clone();
            let id = {
                let mut world = shared.world.lock().unwrap();
                world.streams += 1;
                world.streams
            };
            let call = (id, path, extra);
            let _ = match own.contains("/Delta") {
                true => stream_of::<DeltaDiscoveryRequest>(call, body, respond, &shared).await,
                false => stream_of::<DiscoveryRequest>(call, body, respond, &shared).await,
            };
            let mut world = shared.world.lock().unwrap();
            world.open.retain(|(stream, ..)| *stream != id);
            for lines in world.log.values_mut() {
                if lines.first().is_some_and(|line| line.starts_with(&own)) {
                    lines.push("closed".to_owned());
                }
            }
        });
    }
}

/// What a request of either protocol does.
trait Request: Message + Default {
    fn type_url(&self) -> &str;
    fn nonce(&self) -> &str;
    fn node(&self) -> Option<String>;
    fn written(&self) -> String;
    /// Takes it in; whether an answer is due.
    fn ask(&self, asked: &mut Asked, known: bool) -> bool;
    /// The answer in wire format; None: there is nothing to say.
    fn answer(type_url: &str, of: &Of, asked: &mut Asked) -> Option<Vec<u8>>;
}

async fn stream_of<Q: Request>(
    (id, path, extra): (usize, String, Option<String>),
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
) -> Result<(), h2::Error> {
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut out = respond.send_response(response, false)?;
    let mut changed = shared.changed.subscribe();
    let mut types: BTreeMap<String, Asked> = BTreeMap::new();
    let mut buffer = BytesMut::new();
    let mut first = true;
    loop {
        tokio::select! {
            chunk = body.data() => {
                let Some(chunk) = chunk else { return Ok(()) };
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                buffer.extend_from_slice(&chunk);
            }
            _ = changed.changed() => {
                for (type_url, asked) in &mut types {
                    let mut world = shared.world.lock().unwrap();
                    let of = world.types.get(type_url).cloned().unwrap_or_default();
                    if of.version != asked.version
                        && let Some(answer) = Q::answer(type_url, &of, asked)
                    {
                        world.open.insert((id, type_url.clone(), asked.nonce.to_string()));
                        send(&mut out, answer)?;
                    }
                }
            }
        }
        while let Some(request) = message::<Q>(&mut buffer) {
            let type_url = request.type_url().to_owned();
            let mut world = shared.world.lock().unwrap();
            let log = world.log.entry(type_url.clone()).or_default();
            if std::mem::take(&mut first) {
                let extra = extra.as_deref().unwrap_or_default();
                log.push(format!(
                    "{path} {extra} node {}",
                    request.node().unwrap_or_default()
                ));
            } else if let Some(node) = request.node() {
                log.push(format!("node {node} again"));
            }
            log.push(request.written());
            world
                .open
                .remove(&(id, type_url.clone(), request.nonce().to_owned()));
            let of = world.types.get(&type_url).cloned().unwrap_or_default();
            let known = types.contains_key(&type_url);
            let asked = types.entry(type_url.clone()).or_default();
            if request.ask(asked, known)
                && let Some(answer) = Q::answer(&type_url, &of, asked)
            {
                world.open.insert((id, type_url, asked.nonce.to_string()));
                send(&mut out, answer)?;
            }
        }
    }
}

fn message<Q: Message + Default>(buffer: &mut BytesMut) -> Option<Q> {
    let length = u32::from_be_bytes(*buffer.get(1..)?.first_chunk()?) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(Q::decode(buffer.split_to(length)).unwrap())
}

fn send(out: &mut SendStream<Bytes>, message: Vec<u8>) -> Result<(), h2::Error> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(&message);
    out.send_data(frame.freeze(), false)
}

fn error(status: Option<&leno_proto::google::rpc::Status>) -> String {
    status.map_or_else(String::new, |_| " error".to_owned())
}

impl Request for DiscoveryRequest {
    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn nonce(&self) -> &str {
        &self.response_nonce
    }

    fn node(&self) -> Option<String> {
        self.node.as_ref().map(|node| node.id.clone())
    }

    fn written(&self) -> String {
        let mut names = self.resource_names.clone();
        names.sort();
        let (version, nonce) = (&self.version_info, &self.response_nonce);
        format!(
            "{names:?} version {version:?} nonce {nonce:?}{}",
            error(self.error_detail.as_ref())
        )
    }

    fn ask(&self, asked: &mut Asked, known: bool) -> bool {
        let names = self.resource_names.iter().cloned().collect();
        let nonce = asked.nonce.to_string();
        if known && asked.nonce > 0 && self.response_nonce != nonce {
            return false;
        }
        asked.all = self.resource_names.is_empty() && !known || asked.all;
        let new = !known || asked.names != names;
        asked.names = names;
        new
    }

    fn answer(type_url: &str, of: &Of, asked: &mut Asked) -> Option<Vec<u8>> {
        asked.version.clone_from(&of.version);
        if of.version.is_empty() {
            return None;
        }
        asked.nonce += 1;
        let resources = of.resources.iter();
        let resources = resources.filter(|(name, _)| asked.all || asked.names.contains(*name));
        let response = DiscoveryResponse {
            version_info: of.version.clone(),
            resources: resources.map(|(_, any)| any.clone()).collect(),
            type_url: type_url.to_owned(),
            nonce: asked.nonce.to_string(),
            ..Default::default()
        };
        Some(response.encode_to_vec())
    }
}

impl Request for DeltaDiscoveryRequest {
    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn nonce(&self) -> &str {
        &self.response_nonce
    }

    fn node(&self) -> Option<String> {
        self.node.as_ref().map(|node| node.id.clone())
    }

    fn written(&self) -> String {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        let mut text = String::new();
        let lists = [
            ("+", sorted(&self.resource_names_subscribe)),
            ("-", sorted(&self.resource_names_unsubscribe)),
        ];
        for (sign, names) in lists {
            if !names.is_empty() {
                let _ = write!(text, "{sign}{names:?} ");
            }
        }
        let initial: BTreeMap<_, _> = self.initial_resource_versions.iter().collect();
        if !initial.is_empty() {
            let _ = write!(text, "initial {initial:?} ");
        }
        let _ = write!(
            text,
            "nonce {:?}{}",
            self.response_nonce,
            error(self.error_detail.as_ref())
        );
        text
    }

    fn ask(&self, asked: &mut Asked, known: bool) -> bool {
        // Versions of another life are not compared: all of it is said again, and what is gone as well.
        for name in self.initial_resource_versions.keys() {
            asked.sent.insert(name.clone(), Bytes::new());
        }
        for name in &self.resource_names_unsubscribe {
            asked.names.remove(name);
            asked.sent.remove(name);
        }
        for name in &self.resource_names_subscribe {
            asked.sent.remove(name);
        }
        let more = self.resource_names_subscribe.iter();
        asked.names.extend(more.filter(|name| *name != "*").cloned());
        asked.all |= self.resource_names_subscribe.iter().any(|name| name == "*")
            || !known && self.resource_names_subscribe.is_empty();
        !known || !self.resource_names_subscribe.is_empty()
    }

    fn answer(type_url: &str, of: &Of, asked: &mut Asked) -> Option<Vec<u8>> {
        asked.version.clone_from(&of.version);
        if of.version.is_empty() {
            return None;
        }
        // Of virtual hosts none comes that is not asked for.
        let all = asked.all && type_url != VIRTUAL_HOST;
        let wanted = of.resources.iter();
        let wanted = wanted.filter(|(name, _)| all || asked.names.contains(*name));
        let news: Vec<_> = wanted
            .filter(|(name, any)| asked.sent.get(*name).is_none_or(|sent| *sent != any.value))
            .map(|(name, any)| (name.clone(), any.clone()))
            .collect();
        let gone: Vec<String> = asked
            .sent
            .keys()
            .filter(|name| !of.resources.contains_key(*name))
            .cloned()
            .collect();
        for (name, any) in &news {
            asked.sent.insert(name.clone(), any.value.clone().into());
        }
        asked.sent.retain(|name, _| !gone.contains(name));
        // Of virtual hosts it says as well that there is none.
        let mut none = Vec::new();
        let first = type_url == VIRTUAL_HOST && asked.nonce == 0;
        if type_url == VIRTUAL_HOST {
            let unknown = asked
                .names
                .iter()
                .filter(|name| !of.resources.contains_key(*name));
            none.extend(unknown.filter(|name| !gone.contains(name)).cloned());
            asked
                .names
                .retain(|name| !none.contains(name) && !gone.contains(name));
        }
        if news.is_empty() && gone.is_empty() && none.is_empty() && !first {
            return None;
        }
        asked.nonce += 1;
        let response = DeltaDiscoveryResponse {
            resources: news
                .into_iter()
                .map(|(name, any)| Resource {
                    name,
                    version: of.version.clone(),
                    resource: Some(any),
                    ..Default::default()
                })
                .chain(none.into_iter().map(|name| Resource {
                    name: name.clone(),
                    version: of.version.clone(),
                    aliases: vec![name],
                    ..Default::default()
                }))
                .collect(),
            removed_resources: gone,
            type_url: type_url.to_owned(),
            nonce: asked.nonce.to_string(),
            ..Default::default()
        };
        Some(response.encode_to_vec())
    }
}
