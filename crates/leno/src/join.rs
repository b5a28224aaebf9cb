//! How a command on this machine finds the control plane: the rendezvous file, or flags.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use leno_control::rendezvous::{self, Rendezvous};
use leno_tls::TrustBundle;

use crate::env::Environment;

/// Where the control plane is; without these it is looked up in the rendezvous file
#[derive(Clone, Debug, Default, Args)]
pub struct JoinArgs {
    /// Address of the control plane (host:port)
    #[arg(long, value_name = "ADDR", global = true)]
    pub control: Option<String>,
    /// Root certificate of the control plane (PEM)
    #[arg(long, value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// File with the join token
    #[arg(long, value_name = "FILE", global = true)]
    pub token: Option<PathBuf>,
}

/// What is needed to speak to the control plane.
#[derive(Clone, Debug)]
pub struct Join {
    pub address: SocketAddr,
    pub ca: PathBuf,
    pub token: PathBuf,
}

impl JoinArgs {
    /// Flags first, the rendezvous file for what they leave out.
    pub fn resolve(&self, environment: &Environment) -> anyhow::Result<Join> {
        if let (Some(control), Some(ca), Some(token)) = (&self.control, &self.ca, &self.token) {
            return Ok(Join {
                address: address(control)?,
                ca: ca.clone(),
                token: token.clone(),
            });
        }
        let found = rendezvous(environment)?;
        Ok(Join {
            address: address(self.control.as_deref().unwrap_or(&found.address))?,
            ca: self.ca.clone().unwrap_or(found.ca),
            token: self.token.clone().unwrap_or(found.token),
        })
    }
}

impl Join {
    pub fn trust(&self) -> anyhow::Result<TrustBundle> {
        let pem = read(&self.ca, "the control plane's root certificate")?;
        Ok(TrustBundle::from_pem(
            pem.as_bytes(),
            &self.ca.display().to_string(),
        )?)
    }

    pub fn token(&self) -> anyhow::Result<String> {
        Ok(read(&self.token, "the join token")?.trim().to_owned())
    }
}

/// What the rendezvous file says.
pub fn rendezvous(environment: &Environment) -> anyhow::Result<Rendezvous> {
    let path = environment.rendezvous_file().ok_or_else(|| {
        anyhow!("neither XDG_RUNTIME_DIR nor HOME is set — the environment — set one, or give --control, --ca and --token")
    })?;
    rendezvous::read(&path).ok_or_else(|| {
        anyhow!("no control plane runs here — {} is not there — start `leno control --config DIR`, or give --control, --ca and --token", path.display())
    })
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|e| anyhow!("no address: {e} — --control {text} — give HOST:PORT"))?;
    found
        .next()
        .ok_or_else(|| anyhow!("no address — --control {text} — give HOST:PORT"))
}

fn read(path: &Path, what: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "{what} cannot be read — {} — start `leno control`, or check the path",
            path.display()
        )
    })
}
