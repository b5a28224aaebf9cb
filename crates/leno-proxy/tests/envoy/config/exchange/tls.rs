//! A client's TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leno_tls::CertificateInfo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};

use crate::config::pki::Pki;
use crate::config::request::Tls;

/// The connection, and what came out: version, protocol, whether an OCSP response was stapled, whose certificate.
pub(super) async fn connect(
    tls: &Tls,
    pki: &Pki,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, String), String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let anybody = Arc::new(Anybody::default());
    let versions: &[_] = match tls.version.as_str() {
        "1.2" => &[&TLS12],
        "1.3" => &[&TLS13],
        _ => &[&TLS12, &TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&anybody) as _);
    let mut config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let (chain, key) = pki.pair(name);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.enable_sni = tls.sni.is_some();
    let name = tls.sni.clone().unwrap_or_else(|| "none.example".into());
    let name = ServerName::try_from(name).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|_| "no TLS".to_owned())?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS",
    };
    let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
    let shown = session
        .peer_certificates()
        .and_then(|chain| CertificateInfo::parse(chain.first()?).ok());
    let described = format!(
        "{version}, {}{}, {}",
        alpn.as_deref().unwrap_or("no ALPN"),
        match anybody.stapled.load(Ordering::Relaxed) {
            true => ", stapled",
            false => "",
        },
        shown.map(|info| info.sans.dns.join(" ")).unwrap_or_default()
    );
    Ok((stream, described))
}

/// The names in the certificate that is shown at this address.
pub(crate) fn names_shown(pki: &Pki, address: SocketAddr) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        let (_, described) = connect(&Tls::default(), pki, stream).await?;
        Ok(described.rsplit(", ").next().unwrap_or_default().to_owned())
    })
}

pub(crate) fn believing_anybody() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anybody::default())
}

/// Believes everybody: what is shown is told.
#[derive(Debug, Default)]
struct Anybody {
    /// There was an OCSP response.
    stapled: AtomicBool,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        staple: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.stapled.store(!staple.is_empty(), Ordering::Relaxed);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
