//! How the control plane is reached: its address, and how it proves itself.

use std::net::SocketAddr;
use std::sync::Arc;

use leno_tls::{
    ClientTls, ConfigError, Crypto, PeerCheck, ROOT_CA, Resumption, SanKind, SanMatcher, Secrets,
    ServerCheck, TlsConfigs, TrustBundle, Versions, WORKLOAD_CERTIFICATE,
};

use crate::grpc::Target;

/// The secret that holds what the control plane's certificate must chain to.
const CONTROL_PLANE_CA: &str = "control-plane-ca";

/// The DNS name in the control plane's certificate.
pub const CONTROL_PLANE_NAME: &str = "leno-control.leno-system.svc";

#[derive(Debug)]
pub struct ControlPlane {
    address: SocketAddr,
    configs: TlsConfigs,
    secrets: Arc<Secrets>,
    joining: Arc<ClientTls>,
    /// To ask for another first one: who was joined once knows by the mesh's own word whom to trust.
    rejoining: Arc<ClientTls>,
    joined: Arc<ClientTls>,
}

impl ControlPlane {
    /// Until there is a certificate of the mesh, and with it the mesh's roots, the control plane's certificate must chain
    /// to `trust`, then to one of those; and bear [`CONTROL_PLANE_NAME`]: a workload's certificate chains to the
    /// same root and bears a SPIFFE id only, so that no workload can pass for the control plane.
    pub fn new(address: SocketAddr, trust: TrustBundle, secrets: Arc<Secrets>, crypto: Crypto) -> Self {
        secrets.set_bundle(CONTROL_PLANE_CA, trust);
        let name = SanMatcher::exact(SanKind::Dns, CONTROL_PLANE_NAME);
        let check = PeerCheck {
            sans: vec![name],
            ..PeerCheck::any(CONTROL_PLANE_CA)
        };
        let joining = ClientTls {
            identity: None,
            server: ServerCheck::Peer(check),
            sni: Some(CONTROL_PLANE_NAME.into()),
            alpn: vec!["h2".into()],
            versions: Versions::default(),
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            resumption: Resumption::Off,
        };
        let mut rejoining = joining.clone();
        if let ServerCheck::Peer(check) = &mut rejoining.server {
            check.trust = Some(ROOT_CA.to_owned());
        }
        let joined = ClientTls {
            identity: Some(WORKLOAD_CERTIFICATE.into()),
            ..rejoining.clone()
        };
        Self {
            address,
            configs: TlsConfigs::new(crypto, Arc::clone(&secrets), 4),
            secrets,
            rejoining: Arc::new(rejoining),
            joining: Arc::new(joining),
            joined: Arc::new(joined),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Without a certificate of our own: to ask for the first one, with a token.
    pub fn joining(&mut self) -> Result<Target, ConfigError> {
        let tls = match self.secrets.load().bundle(ROOT_CA) {
            Some(_) => self.rejoining.clone(),
            None => self.joining.clone(),
        };
        self.target(&tls)
    }

    /// With the workload's certificate.
    pub fn joined(&mut self) -> Result<Target, ConfigError> {
        let tls = self.joined.clone();
        self.target(&tls)
    }

    fn target(&mut self, tls: &Arc<ClientTls>) -> Result<Target, ConfigError> {
        let client = self.configs.client(tls)?;
        let name = client.server_name(None, self.address.ip());
        Ok(Target {
            address: self.address,
            tls: Some((client.config().clone(), name)),
        })
    }
}
