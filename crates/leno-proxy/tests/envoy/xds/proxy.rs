//! Either proxy on a bootstrap: Envoy as a process, leno in this one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::config::core::v3::{address, socket_address};
use leno_proto::envoy::service::discovery::v3::DiscoveryResponse;
use leno_proto::google::protobuf::Any;
use leno_proto_text::{Dumped, Schema, Selection};
use leno_proxy::discovery::Text;
use leno_proxy::{Demand, Options};
use leno_telemetry::metrics::Metrics;
use leno_telemetry::record::LocalWorkload;
use leno_testkit::{Background, Process, eventually};
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::envoy;

/// Ended when dropped.
pub(crate) struct Proxy {
    _envoy: Option<(Process, TempDir)>,
    _leno: Option<Leno>,
}

struct Leno {
    _following: leno_proxy::bootstrap::Following,
    _background: Background,
}

impl Proxy {
    pub(crate) fn envoy(program: &str, bootstrap: &Bootstrap) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bootstrap.pb");
        std::fs::write(&file, bootstrap.encode_to_vec()).unwrap();
        let mut command = Command::new(program);
        command
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "-c",
            ])
            .arg(&file);
        Self {
            _envoy: Some((Process::spawn(command), directory)),
            _leno: None,
        }
    }

    pub(crate) fn leno(bootstrap: &Bootstrap) -> Self {
        let background = Background::start();
        let inside = background.handle.enter();
        let compiled = leno_proxy::Bootstrap::compile(bootstrap, &NoFiles).unwrap();
        let (demand, questions) = Demand::when_told();
        let options = Options {
            demand,
            runtime: compiled.layers(),
            ..Options::default()
        };
        let proxy = Arc::new(leno_proxy::Proxy::start(options).unwrap());
        let following = compiled
            .follow(&proxy, questions, Some(text()), None, || 0)
            .unwrap();
        if let Some(address) = admin_port(bootstrap) {
            let metrics = Arc::new(Metrics::new(LocalWorkload::default()));
            let admin = envoy::admin(proxy.handle(), bootstrap, metrics, Some(following.dumps.clone()));
            background.handle.spawn(async move {
                let socket = TcpListener::bind(address).await.unwrap();
                leno_proxy::admin::serve(socket, Arc::new(admin)).await;
            });
        }
        drop(inside);
        Self {
            _envoy: None,
            _leno: Some(Leno {
                _following: following,
                _background: background,
            }),
        }
    }
}

fn admin_port(bootstrap: &Bootstrap) -> Option<SocketAddr> {
    let address = bootstrap.admin.as_ref()?.address.as_ref()?;
    let Some(address::Address::SocketAddress(socket)) = &address.address else {
        return None;
    };
    let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    Some(SocketAddr::new(
        socket.address.parse().unwrap(),
        u16::try_from(port).unwrap(),
    ))
}

fn text() -> Text {
    let schema = Arc::new(Schema::load());
    let reader = Arc::clone(&schema);
    let response = move |text: &str| {
        let response = reader.from_text::<DiscoveryResponse>(text);
        response
            .map(|response| response.encode_to_vec())
            .map_err(|error| error.to_string())
    };
    let json = move |message: &Any| match schema.dump(message, &Selection::default()) {
        Ok(Dumped::Json(json)) => Ok(json.to_string()),
        other => Err(format!("{other:?}")),
    };
    Text {
        response: Arc::new(response),
        json: Arc::new(json),
    }
}

/// Waits until the body of `GET /` at this port is that.
#[track_caller]
pub(crate) fn serves(address: SocketAddr, wanted: &str) {
    eventually(&format!("{address} serves {wanted}"), || match get(address) {
        Ok(body) if body == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Waits until the status and the body of a request with these header lines are that.
#[track_caller]
pub(crate) fn answers(address: SocketAddr, headers: &str, wanted: &str) {
    eventually(
        &format!("{address} answers {headers:?} with {wanted}"),
        || match answer(address, headers) {
            Ok(answer) if answer == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

/// Status and body.
pub(crate) fn answer(address: SocketAddr, headers: &str) -> std::io::Result<String> {
    let text = exchange(address, headers)?;
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(format!("{status} {body}").trim_end().to_owned())
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let answer = exchange(address, "")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(answer))
}

fn exchange(address: SocketAddr, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let host = if headers.contains("host: ") {
        ""
    } else {
        "host: a\r\n"
    };
    write!(
        stream,
        "GET / HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
