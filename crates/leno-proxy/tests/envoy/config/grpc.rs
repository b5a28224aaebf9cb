//! grpcio (the C core), as server and clients: `grpc/peer.py`, a process for all cases of a run.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::request::Call;

const PYTHON: &str = "LENO_GRPC_PYTHON";

/// Whether there is grpcio here: in the directory of `LENO_GRPC_PYTHON`.
pub(crate) fn is_there() -> bool {
    std::env::var_os(PYTHON).is_some()
}

/// Ended when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    process: Child,
    calls: Mutex<ChildStdin>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<String>>>>,
    numbers: AtomicU64,
}

// === impl Peer ===

impl Peer {
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy/config/grpc/peer.py");
        let mut command = Command::new("python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(packages) = std::env::var_os(PYTHON) {
            command.env("PYTHONPATH", packages);
        }
        let mut process = command.spawn().unwrap();
        let calls = process.stdin.take().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        let waiting = Arc::new(Mutex::new(HashMap::<u64, oneshot::Sender<String>>::new()));
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).unwrap();
                let waiter = answered.lock().unwrap().remove(&answer["id"].as_u64().unwrap());
                let text = answer["text"].as_str().unwrap().to_owned();
                let _ = waiter.unwrap().send(text);
            }
        });
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            process,
            calls: Mutex::new(calls),
            waiting,
            numbers: AtomicU64::new(0),
        }
    }

    /// Calls through this proxy; what came is told.
    pub(crate) async fn call(&self, call: &Call, key: &str, proxy: SocketAddr) -> String {
        let (told, text) = oneshot::channel();
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap().insert(id, told);
        let mut wanted: Value = serde_json::to_value(call).unwrap();
        let mut metadata: Vec<Value> = call
            .metadata
            .iter()
            .map(|(name, value)| json!([name, value]))
            .collect();
        metadata.push(json!(["x-key", key]));
        wanted["metadata"] = metadata.into();
        wanted["id"] = id.into();
        wanted["target"] = proxy.to_string().into();
        writeln!(self.calls.lock().unwrap(), "{wanted}").unwrap();
        text.await.unwrap_or_else(|_| "  the peer has gone".into())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
