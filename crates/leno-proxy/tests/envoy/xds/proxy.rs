//! Either proxy on a bootstrap: Envoy as a process, leno in this one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use leno_engine::compile::NoFiles;
use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::envoy::service::discovery::v3::DiscoveryResponse;
use leno_proto::google::protobuf::Any;
use leno_proto_text::{Dumped, Schema, Selection};
use leno_proxy::Options;
use leno_proxy::discovery::Text;
use leno_testkit::{Background, Process, eventually};
use prost::Message;
use tempfile::TempDir;

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
        let proxy = Arc::new(leno_proxy::Proxy::start(Options::default()).unwrap());
        let compiled = leno_proxy::Bootstrap::compile(bootstrap, &NoFiles).unwrap();
        let following = compiled.follow(&proxy, Some(text()), None, || 0).unwrap();
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

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(answer))
}
