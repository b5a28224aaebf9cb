//! A control plane in a process of its own, what it costs, and how one gets into its mesh.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use leno_control::rendezvous::{self, Rendezvous};
use leno_proto::istio::v1::auth::IstioCertificateRequest;
use leno_proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use leno_tls::{
    ClientTls, Crypto, Identity, PeerCheck, PendingIdentity, ROOT_CA, Resumption, Secrets, ServerCheck,
    TlsConfigs, TrustBundle, Versions, WORKLOAD_CERTIFICATE,
};
use tokio::net::TcpStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

const IDENTITY: &str = "spiffe://cluster.local/ns/default/sa/sim";

pub struct Plane {
    process: Child,
    pub config: PathBuf,
    rendezvous: Rendezvous,
    /// From the start until it answers.
    pub start: Duration,
    _directory: tempfile::TempDir,
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu: Duration,
    /// Now, and at most so far; in KiB.
    pub resident: u64,
    pub most: u64,
}

impl Plane {
    pub fn start(leno: &Path, prepare: impl FnOnce(&Path) -> std::io::Result<()>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config");
        std::fs::create_dir(&config)?;
        prepare(&config)?;
        let at = |name: &str| directory.path().join(name);
        let begin = Instant::now();
        let mut process = Command::new(leno)
            .arg("control")
            .args(["--port", "0", "--plaintext-port", "0", "--admin-port", "0"])
            .arg("--config")
            .arg(&config)
            .arg("--state")
            .arg(at("state"))
            .arg("--rendezvous")
            .arg(at("control.json"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log"))?)
            .spawn()
            .with_context(|| format!("{} does not start", leno.display()))?;
        let rendezvous = loop {
            if let Some(found) = rendezvous::read(&at("control.json")) {
                break found;
            }
            if let Some(status) = process.try_wait()? {
                bail!(
                    "the control plane ended with {status}: {}",
                    std::fs::read_to_string(at("log"))?
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Self {
            process,
            config,
            rendezvous,
            start: begin.elapsed(),
            _directory: directory,
        })
    }

    /// Linux tells time in ticks of ten milliseconds.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id()));
        let stat = of("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or_default()
        };
        let status = of("status")?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().split(' ').next()?.parse::<u64>().ok()
        };
        Ok(Usage {
            cpu: Duration::from_millis(10 * (ticks(12) + ticks(13))),
            resident: kib("VmRSS:").unwrap_or_default(),
            most: kib("VmHWM:").unwrap_or_default(),
        })
    }

    /// All proxies are of one service account, so that one certificate does for all.
    pub async fn join(&self) -> anyhow::Result<Identity> {
        let pending = PendingIdentity::generate(IDENTITY.parse()?)?;
        let mut request = Request::new(IstioCertificateRequest {
            csr: pending.csr_pem().to_owned(),
            ..Default::default()
        });
        let token = std::fs::read_to_string(&self.rendezvous.token)?;
        let bearer = format!("Bearer {}", token.trim()).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let channel = self.dialer(None)?.dial().await?;
        let answer = IstioCertificateServiceClient::new(channel)
            .create_certificate(request)
            .await?;
        Ok(pending.complete(&answer.into_inner().cert_chain, &Crypto::system())?)
    }

    pub fn dialer(&self, identity: Option<Identity>) -> anyhow::Result<Dialer> {
        let secrets = Arc::new(Secrets::new());
        let root = std::fs::read(&self.rendezvous.ca)?;
        secrets.set_bundle(ROOT_CA, TrustBundle::from_pem(&root, "the mesh's root")?);
        let tls = ClientTls {
            identity: identity.as_ref().map(|_| WORKLOAD_CERTIFICATE.to_owned()),
            server: ServerCheck::Hostname(PeerCheck::any(ROOT_CA)),
            sni: Some("localhost".to_owned()),
            alpn: vec!["h2".to_owned()],
            versions: Versions::TLS13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            resumption: Resumption::Off,
        };
        if let Some(identity) = identity {
            secrets.set_identity(WORKLOAD_CERTIFICATE, identity);
        }
        let client = TlsConfigs::new(Crypto::system(), secrets, 1).client(&Arc::new(tls))?;
        Ok(Dialer {
            address: self.rendezvous.address.parse()?,
            client,
        })
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes connections, each its own.
#[derive(Clone)]
pub struct Dialer {
    address: std::net::SocketAddr,
    client: leno_tls::TlsClient,
}

impl Dialer {
    pub async fn dial(&self) -> anyhow::Result<Channel> {
        let (address, client) = (self.address, self.client.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let client = client.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = client.server_name(Some("localhost"), address.ip());
                let tls = tokio_rustls::TlsConnector::from(client.config().clone());
                tls.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        Ok(endpoint.connect_with_connector(connect).await?)
    }
}
