//! `path_config_source`: a `DiscoveryResponse` in a file, taken again when another file is moved to its place.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use leno_engine::compile::config_source::WatchedFile;
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::service::discovery::v3::DiscoveryResponse;
use leno_xds::StateClient;
use leno_xds::client::{Lookup, Received, Ticket};
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::said::{Event, Key, Said};
use super::text::Text;
use crate::resources::Kind;
use crate::watch::Watch;

/// Bytes; larger files are not taken.
const MAX_FILE: u64 = 64 << 20;

pub(super) struct File {
    /// What is wanted of it and what was in it; nobody is sent the requests that it makes.
    client: StateClient,
    kind: Kind,
    path: String,
    /// Somebody wants something that may be in it already.
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl File {
    pub(super) fn new(
        watched: &WatchedFile,
        kind: Kind,
        key: &Key,
        events: mpsc::Sender<Said>,
        text: Option<Text>,
    ) -> Self {
        let mut client = StateClient::new(Node::default());
        client.on_connected();
        let again = Arc::new(Notify::new());
        let reader = Reader {
            path: PathBuf::from(&watched.path),
            text,
            last: Vec::new(),
        };
        let watch = Watch::new(watched);
        let (key, wanted) = (key.clone(), Arc::clone(&again));
        Self {
            client,
            kind,
            path: watched.path.clone(),
            again,
            task: tokio::spawn(follow(reader, watch, wanted, key, events)),
        }
    }

    pub(super) fn subscribe(&mut self, name: &str) {
        self.client.subscribe(self.kind.type_url(), name);
        self.again.notify_one();
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        self.client.unsubscribe(self.kind.type_url(), name);
    }

    pub(super) fn lookup(&self, name: &str) -> Lookup {
        self.client.lookup(self.kind.type_url(), name)
    }

    pub(super) fn receive(&mut self, read: Result<DiscoveryResponse, String>) -> Option<Received> {
        match read {
            Ok(mut response) => {
                self.kind.type_url().clone_into(&mut response.type_url);
                Some(self.client.on_response(response))
            }
            Err(why) => {
                tracing::warn!("{why} — {} — what was in it before stays in force", self.path);
                None
            }
        }
    }

    pub(super) fn finish(&mut self, ticket: Ticket, errors: &[(String, String)]) {
        let refused = self
            .client
            .finish(ticket, errors)
            .and_then(|request| request.error_detail);
        if let Some(status) = refused {
            tracing::warn!("{} — {}", status.message, self.path);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads the file whenever something has been moved, and when somebody wants more of it.
async fn follow(mut reader: Reader, watch: Watch, wanted: Arc<Notify>, key: Key, events: mpsc::Sender<Said>) {
    loop {
        let anew = tokio::select! {
            () = wanted.notified() => true,
            () = watch.changed() => false,
        };
        if let Some(read) = reader.read(anew).await {
            let event = Event::Read(read);
            let (key, epoch) = (key.clone(), 0);
            if events.send(Said { key, epoch, event }).await.is_err() {
                return;
            }
        }
    }
}

struct Reader {
    path: PathBuf,
    text: Option<Text>,
    last: Vec<u8>,
}

impl Reader {
    /// None: it is as before. `anew`: said even so.
    async fn read(&mut self, anew: bool) -> Option<Result<DiscoveryResponse, String>> {
        let bytes = match self.bytes().await {
            Ok(bytes) => bytes,
            Err(why) => return Some(Err(format!("cannot be read: {why}"))),
        };
        if bytes == self.last && !anew {
            return None;
        }
        self.last.clone_from(&bytes);
        Some(self.parse(bytes).await)
    }

    async fn bytes(&self) -> io::Result<Vec<u8>> {
        let metadata = tokio::fs::metadata(&self.path).await?;
        if metadata.len() > MAX_FILE {
            return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
        }
        tokio::fs::read(&self.path).await
    }

    async fn parse(&self, bytes: Vec<u8>) -> Result<DiscoveryResponse, String> {
        let extension = self.path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let wire = match (extension, &self.text) {
            ("pb", _) => bytes,
            ("pb_text", _) => {
                return Err("protobuf's text format is not supported: use YAML or JSON".to_owned());
            }
            (_, None) => return Err("YAML and JSON are not read here".to_owned()),
            (_, Some(text)) => {
                let text = text.clone();
                let parsed = tokio::task::spawn_blocking(move || {
                    let source = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
                    (text.response)(&source)
                });
                parsed.await.map_err(|error| error.to_string())??
            }
        };
        DiscoveryResponse::decode(wire.as_slice()).map_err(|error| error.to_string())
    }
}
