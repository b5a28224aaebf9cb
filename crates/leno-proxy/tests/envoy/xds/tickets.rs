//! Keys of session tickets that come by SDS, and are replaced while the proxy serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_testkit::{eventually, free_address};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::files::Files;
use super::proxy::Proxy;
use super::script::socket;
use crate::config::{Pki, believing_anybody};

const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";

/// What a key has made is read as long as it is there, and by nobody afterwards.
pub(crate) fn resumed(start: impl FnOnce(&Bootstrap) -> Proxy) {
    let (files, pki, port) = (Files::new(), Pki::new(), free_address());
    let put = |version: &str, keys: &[u8]| {
        let keys = keys.iter();
        let keys: Vec<_> = keys
            .map(|byte| json!({"inline_string": char::from(*byte).to_string().repeat(80)}))
            .collect();
        files.say(
            version,
            SECRET,
            &[json!({"name": "keys", "session_ticket_keys": {"keys": keys}})],
        );
    };
    put("1", b"a");
    let keys = json!({"name": "keys", "sds_config": files.stream("GRPC")});
    let keys = json!({"session_ticket_keys_sds_secret_config": keys});
    let _proxy = start(&bootstrap(&files, &pki, port, keys));
    let (client, other) = (client(), client());
    eventually("the first session is a new one", || kind(&client, port));
    assert_eq!(kind(&client, port), Ok(HandshakeKind::Resumed));
    assert_eq!(kind(&other, port), Ok(HandshakeKind::Full));
    put("2", b"b");
    eventually("what the old key has made is not read any more", || {
        match kind(&other, port)? {
            HandshakeKind::Full => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(kind(&other, port), Ok(HandshakeKind::Resumed));
}

/// By keys that the proxy has made for itself.
pub(crate) fn resumed_by_own_keys(start: impl FnOnce(&Bootstrap) -> Proxy) {
    let (files, pki, port) = (Files::new(), Pki::new(), free_address());
    let own = json!({"disable_stateless_session_resumption": false});
    let _proxy = start(&bootstrap(&files, &pki, port, own));
    let client = client();
    eventually("the first session is a new one", || kind(&client, port));
    assert_eq!(kind(&client, port), Ok(HandshakeKind::Resumed));
}

/// Which keeps its sessions.
fn client() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().dangerous();
    let verified = builder.with_custom_certificate_verifier(believing_anybody());
    Arc::new(verified.with_no_client_auth())
}

fn kind(client: &Arc<ClientConfig>, port: SocketAddr) -> Result<HandshakeKind, String> {
    let name = ServerName::try_from("a.example").unwrap();
    let session = ClientConnection::new(Arc::clone(client), name).unwrap();
    let stream = TcpStream::connect(port).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(session, stream);
    let mut back = [0; 5];
    let said = stream.write_all(b"hello");
    let read = said.and_then(|()| stream.read_exact(&mut back));
    read.map_err(|error| error.to_string())?;
    stream
        .conn
        .handshake_kind()
        .ok_or_else(|| "no handshake".to_owned())
}

fn bootstrap(files: &Files, pki: &Pki, port: SocketAddr, tickets: Value) -> Bootstrap {
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{
            "certificate_chain": {"inline_string": pki.pem("server.crt")},
            "private_key": {"inline_string": pki.pem("server.key")},
        }]},
    });
    for (field, value) in tickets.as_object().unwrap() {
        tls[field] = value.clone();
    }
    let echo = json!({"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"});
    let chain = json!({
        "transport_socket": {"name": "tls", "typed_config": tls},
        "filters": [{"name": "echo", "typed_config": echo}],
    });
    let listener = json!({"name": "l", "address": socket(port), "filter_chains": [chain]});
    files.bootstrap(json!({"static_resources": {"listeners": [listener], "clusters": [files.cluster()]}}))
}
