//! Sets of keys that leno fetches for tokens: from a server that is slow, that lies, and that has new ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;

use crate::envoy::Leno;

/// Of the issuer `issuer`, until 2100, signed by [`KEYS`].
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6Im9uZSJ9.eyJpc3MiOiJpc3N1ZXIiLCJzdWIiOiJzb21lYm9keSIsImV4cCI6NDEwMjQ0NDgwMH0.DH1bmzPae5TuiTxKKpQ2HWSzssVE_dlJJpAjJhK3G64";
const KEYS: &str =
    r#"{"keys":[{"kty":"oct","k":"YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCBhbmQgb2Ygbm9ib2R5IGVsc2U","kid":"one"}]}"#;

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: "0"
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200}}]
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: issuer
                  remote_jwks:
                    http_uri: {uri: "http://keys.example/keys", cluster: keys, timeout: 30s}
                    cache_duration: KEEP
              rules: [{match: {prefix: /}, requires: {provider_name: p}}]
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: keys
    load_assignment:
      cluster_name: keys
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]}]
"#;

/// A server of keys: how often it was asked, and what it answers; None: it lets the caller wait.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Option<&'static str>>>,
}

impl Server {
    fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(answer)),
        };
        let own = server.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.serve(stream);
            }
        });
        server
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
            head.extend_from_slice(&byte);
        }
        if head.is_empty() {
            return;
        }
        self.asked.fetch_add(1, SeqCst);
        let body = loop {
            match *self.answer.lock().unwrap() {
                Some(body) => break body,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        // Who has gone does not want it.
        let _ = stream.write_all(answer.as_bytes());
    }

    fn answers(&self, body: &'static str) {
        *self.answer.lock().unwrap() = Some(body);
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

fn leno(server: &Server, keep: &str) -> Leno {
    let port = server.address.port().to_string();
    let text = BOOTSTRAP.replace("KEEP", keep).replace("PORT", &port);
    let bootstrap: Bootstrap = Schema::load().from_text(&text).unwrap();
    Leno::start(&bootstrap)
}

/// The answer's first line.
async fn ask(listener: SocketAddr) -> String {
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(listener).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    });
    asking.await.unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

const GOOD: &str = "HTTP/1.1 200 OK";

#[tokio::test]
async fn requests_wait_for_one_fetch_together() {
    let server = Server::start(None);
    let leno = leno(&server, "300s");
    let listener = leno.listeners[0];
    let asking: Vec<_> = (0..8).map(|_| tokio::spawn(ask(listener))).collect();
    until("eight requests wait", async || {
        let (_, stats) = leno.ask("GET", "/stats").await.unwrap();
        stats
            .lines()
            .any(|line| line == "http.test.downstream_rq_active: 8")
    })
    .await;
    until("the keys are asked for", async || server.asked() > 0).await;
    server.answers(KEYS);
    for one in asking {
        assert_eq!(one.await.unwrap(), GOOD);
    }
    assert_eq!(ask(listener).await, GOOD);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_fetch_whose_caller_leaves_is_made_by_another() {
    let server = Server::start(None);
    let leno = leno(&server, "300s");
    let listener = leno.listeners[0];
    let mut first = TcpStream::connect(listener).unwrap();
    write!(
        first,
        "GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    )
    .unwrap();
    until("the keys are asked for", async || server.asked() == 1).await;
    drop(first);
    let second = tokio::spawn(ask(listener));
    server.answers(KEYS);
    assert_eq!(second.await.unwrap(), GOOD);
}

#[tokio::test]
async fn keys_outlive_the_lies_of_their_server() {
    let server = Server::start(Some(KEYS));
    let leno = leno(&server, "0.001s");
    let listener = leno.listeners[0];
    assert_eq!(ask(listener).await, GOOD);
    for lie in ["<html>", "{}", r#"{"keys":[]}"#] {
        server.answers(lie);
        let before = server.asked();
        until("they are asked for again", async || {
            assert_eq!(ask(listener).await, GOOD);
            server.asked() > before
        })
        .await;
    }
}

#[tokio::test]
async fn without_keys_nobody_is_let_in() {
    let server = Server::start(Some("<html>"));
    let leno = leno(&server, "300s");
    let listener = leno.listeners[0];
    assert_eq!(ask(listener).await, "HTTP/1.1 401 Unauthorized");
    server.answers(KEYS);
    until("the keys are there", async || ask(listener).await == GOOD).await;
}
