//! One `GET` to a key server, over HTTP/1.1 and TLS where the address says so.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use leno_api::key_set::{self, MOST_BYTES};
use leno_api::validate::request_authentication::http_address;
use leno_model::KeySource;
use leno_tls::{
    ClientTls, Crypto, HandshakeFailure, PeerCheck, Resumption, Secrets, ServerCheck, TlsConfigs, TlsVersion,
    TrustBundle, Versions,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where distributions keep what the machine trusts: Debian's, Red Hat's, SUSE's, Alpine's.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const TRUST: &str = "key servers";
/// Answers that send elsewhere.
const MOST_REDIRECTS: usize = 3;
/// Of an answer that is no set of keys.
const SHOWN: usize = 80;

pub(super) struct Client {
    /// Or why nobody is trusted.
    tls: Result<Arc<ClientConfig>, String>,
}

impl Client {
    /// `roots`: a file with certificates that are trusted besides the machine's.
    pub(super) fn new(roots: Option<&Path>) -> Self {
        Self {
            tls: trusted(roots).and_then(|pem| config(&pem)),
        }
    }

    /// The source's keys, reduced, or in a few words why there are none.
    pub(super) async fn fetch(&self, source: &KeySource) -> Result<String, String> {
        let uri = match source {
            KeySource::Uri(uri) => uri.to_string(),
            KeySource::Issuer(issuer) => self.discover(issuer).await?,
        };
        let body = self.get(&uri).await?;
        key_set::reduce(&body).map_err(|why| format!("what {uri} answers is {why}: {}", beginning(&body)))
    }

    /// OpenID Connect Discovery 1.0 §4.
    async fn discover(&self, issuer: &str) -> Result<String, String> {
        let uri = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let body = self.get(&uri).await?;
        let said: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|_| format!("what {uri} answers is not JSON: {}", beginning(&body)))?;
        let text = |name: &str| said.get(name).and_then(serde_json::Value::as_str);
        let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
        match (text("issuer"), text("jwks_uri")) {
            // §4.3: else anybody could speak for it.
            (Some(own), _) if bare(own) != bare(issuer) => {
                Err(format!("{uri} is of the issuer {:?}", beginning(own.as_bytes())))
            }
            (_, Some(keys)) if http_address(keys).is_some() => Ok(keys.to_owned()),
            _ => Err(format!("{uri} names no jwks_uri")),
        }
    }

    async fn get(&self, uri: &str) -> Result<Bytes, String> {
        let mut uri = uri.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(&uri).await.map_err(|why| format!("{uri}: {why}"))?;
            let status = response.status();
            if !status.is_redirection() {
                if status != StatusCode::OK {
                    return Err(format!("{uri} answers {}", status.as_u16()));
                }
                return read(response.into_body())
                    .await
                    .map_err(|why| format!("{uri}: {why}"));
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|next| next.to_str().ok());
            uri = next
                .and_then(|next| elsewhere(&uri, next))
                .ok_or_else(|| format!("{uri} answers {} and leads nowhere", status.as_u16()))?;
        }
        Err(format!("{uri} is one redirect too many"))
    }

    async fn ask(&self, uri: &str) -> Result<Response<Incoming>, String> {
        let (secure, authority, path) = http_address(uri).ok_or("no address of a server")?;
        let (host, port) = host_and_port(authority, secure).ok_or("no port")?;
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| error.to_string())?;
        let path = match path {
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        let request = Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "leno")
            .header(CONNECTION, "close")
            .body(String::new())
            .map_err(|error| error.to_string())?;
        if !secure {
            return send(stream, request).await;
        }
        let config = self.tls.as_ref().map_err(String::clone)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| HandshakeFailure::from_io(&error).to_string())?;
        send(stream, request).await
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Response<Incoming>, String> {
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(told)?;
    // It ends with the answer, or when the answer is dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(told)
}

async fn read(mut body: Incoming) -> Result<Bytes, String> {
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > MOST_BYTES {
            return Err("an answer of more than 1 MiB".to_owned());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

/// A redirect's target; nothing that was asked for securely is fetched in plaintext.
fn elsewhere(from: &str, next: &str) -> Option<String> {
    let (secure, authority, _) = http_address(from)?;
    let next = match next.starts_with('/') && !next.starts_with("//") {
        true => format!("{}://{authority}{next}", if secure { "https" } else { "http" }),
        false => next.to_owned(),
    };
    let (still_secure, _, _) = http_address(&next)?;
    (still_secure || !secure).then_some(next)
}

fn host_and_port(authority: &str, secure: bool) -> Option<(&str, u16)> {
    let usual = if secure { 443 } else { 80 };
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => usual,
        };
        return Some((host, port));
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, usual)),
    }
}

/// What a server says, for people: its first line, in quotes.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(body));
    format!("{:?}", text.lines().next().unwrap_or_default())
}

fn trusted(roots: Option<&Path>) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    if let Some(path) = TRUSTED.into_iter().find(|path| Path::new(path).exists()) {
        pem = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    }
    if let Some(path) = roots {
        let own = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        pem.push(b'\n');
        pem.extend(own);
    }
    match pem.is_empty() {
        true => Err("this machine trusts nobody: give --jwks-ca".to_owned()),
        false => Ok(pem),
    }
}

fn config(pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let secrets = Arc::new(Secrets::new());
    let bundle =
        TrustBundle::from_pem(pem, "the roots for key servers").map_err(|error| error.to_string())?;
    secrets.set_bundle(TRUST, bundle);
    let client = ClientTls {
        identity: None,
        server: ServerCheck::Hostname(PeerCheck::any(TRUST)),
        sni: None,
        alpn: vec!["http/1.1".to_owned()],
        versions: Versions {
            min: TlsVersion::V1_2,
            max: TlsVersion::V1_3,
        },
        cipher_suites: Vec::new(),
        groups: Vec::new(),
        resumption: Resumption::Off,
    };
    let made = TlsConfigs::new(Crypto::system(), secrets, 1).client(&Arc::new(client));
    made.map(|client| Arc::clone(client.config()))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leads_from_tls_to_plaintext() {
        let from = "https://a.b/keys";
        assert_eq!(elsewhere(from, "/x").as_deref(), Some("https://a.b/x"));
        assert_eq!(elsewhere(from, "https://c/").as_deref(), Some("https://c/"));
        assert_eq!(elsewhere(from, "http://a.b/x"), None);
        assert_eq!(elsewhere(from, "//c/x"), None);
        assert_eq!(elsewhere("http://a/", "http://c/").as_deref(), Some("http://c/"));
    }

    #[test]
    fn a_port_is_the_schemes_where_none_is_said() {
        for (authority, secure, want) in [
            ("a", true, Some(("a", 443))),
            ("a", false, Some(("a", 80))),
            ("a:8080", true, Some(("a", 8080))),
            ("[::1]", false, Some(("::1", 80))),
            ("[::1]:1", false, Some(("::1", 1))),
            ("a:b", false, None),
            ("a:99999", false, None),
        ] {
            assert_eq!(host_and_port(authority, secure), want, "{authority}");
        }
    }
}
