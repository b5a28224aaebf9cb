//! A control plane that is polled: over HTTP/2, with messages in JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use leno_proto::google::protobuf::Any;
use leno_proto_text::{Dumped, Schema, Selection};
use leno_testkit::Background;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// Ends when dropped.
pub(crate) struct Polled {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<World>>,
    schema: Schema,
    _background: Background,
}

/// By path.
#[derive(Default)]
struct World {
    answers: BTreeMap<String, Value>,
    /// What was asked; what was asked before in the same words is not written again.
    log: BTreeMap<String, Vec<String>>,
}

impl Polled {
    pub(crate) fn start() -> Self {
        let background = Background::start();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(World::default()));
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
            schema: Schema::load(),
            _background: background,
        }
    }

    /// From now on this is all there is.
    pub(crate) fn set(&self, path: &str, version: &str, resources: &[Any]) {
        let resources = resources.iter().map(|any| {
            let Ok(Dumped::Json(mut json)) = self.schema.dump(any, &Selection::default()) else {
                panic!("{any:?} cannot be written");
            };
            json["@type"] = Value::from(any.type_url.as_str());
            json
        });
        let resources: Vec<_> = resources.collect();
        let answer = json!({"version_info": version, "resources": resources});
        self.world().answers.insert(path.to_owned(), answer);
    }

    pub(crate) fn asked(&self, path: &str) -> Vec<String> {
        self.world().log.get(path).cloned().unwrap_or_default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.lock().unwrap()
    }
}

async fn connection(stream: TcpStream, shared: Arc<Mutex<World>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // The proxy is gone: so is the answer.
            let _ = answer(request, respond, &shared).await;
        });
    }
}

async fn answer(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Mutex<World>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut json = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        json.extend_from_slice(&chunk);
    }
    let asked: Value = serde_json::from_slice(&json).unwrap();
    let path = head.uri.path().to_owned();
    let answer = {
        let mut world = shared.lock().unwrap();
        let node = json!({"id": asked["node"]["id"], "cluster": asked["node"]["cluster"]});
        let line = format!(
            "{} {} {:?} node {node} names {} version {} type {}",
            head.method,
            head.uri.authority().unwrap(),
            head.headers.get("content-type").unwrap(),
            asked["resource_names"],
            asked["version_info"],
            asked["type_url"],
        );
        let log = world.log.entry(path.clone()).or_default();
        if log.last() != Some(&line) {
            log.push(line);
        }
        world.answers.get(&path).map(Value::to_string)
    };
    let status = if answer.is_some() { 200 } else { 404 };
    let head = http::Response::builder().status(status).body(()).unwrap();
    let mut out = respond.send_response(head, false)?;
    out.send_data(answer.unwrap_or_default().into(), true)
}
