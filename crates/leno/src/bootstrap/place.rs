//! Where an agent and whom it serves meet: a directory, and the workload's name and address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use clap::Args;

use crate::env::Environment;
use crate::join::JoinArgs;
use crate::workload::WorkloadArgs;

/// sockaddr_un (unix(7)): a path of 107 bytes and a zero.
const LONGEST_SOCKET: usize = 107;

#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// Directory of the agent's sockets and files [default: $XDG_RUNTIME_DIR/leno/agent/NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The instance's name [default: made of service, version and address]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub address: IpAddr,
    pub dir: PathBuf,
}

impl PlaceArgs {
    pub fn resolve(
        &self,
        workload: &WorkloadArgs,
        join: &JoinArgs,
        environment: &Environment,
    ) -> anyhow::Result<Place> {
        let address = match workload.advertise {
            Some(address) => address,
            None => towards(join.resolve(environment)?.address)?,
        };
        // By the address, so that `leno bootstrap` and `leno agent` need not be told.
        let name = self.name.clone();
        let name = name.unwrap_or_else(|| format!("{}-{}", workload.base_name(), hexadecimal(address)));
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => default_dir(environment)?.join(&name),
        };
        let place = Place { name, address, dir };
        let longest = place.xds().as_os_str().len().max(place.sds().as_os_str().len());
        ensure!(
            longest <= LONGEST_SOCKET,
            "the path is too long for a socket's by {} bytes — {} — give a shorter --dir",
            longest - LONGEST_SOCKET,
            place.dir.display()
        );
        Ok(place)
    }
}

impl Place {
    /// The control plane's xDS.
    pub fn xds(&self) -> PathBuf {
        self.dir.join("xds.sock")
    }

    /// The port of the same on loopback, for those whose HTTP/2 does not go well with Unix sockets.
    pub fn port_file(&self) -> PathBuf {
        self.dir.join("xds.port")
    }

    /// Where a running agent serves it.
    pub fn port(&self) -> anyhow::Result<u16> {
        let file = self.port_file();
        let text = std::fs::read_to_string(&file).ok();
        text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            anyhow!(
                "no agent has served this workload — {} — start it first, with the same flags: leno agent grpc",
                file.display()
            )
        })
    }

    /// The secrets `default` and `ROOTCA`.
    pub fn sds(&self) -> PathBuf {
        self.dir.join("sds.sock")
    }

    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }
}

fn default_dir(environment: &Environment) -> anyhow::Result<PathBuf> {
    let rendezvous = environment.rendezvous_file();
    let beside = rendezvous
        .as_deref()
        .and_then(Path::parent)
        .map(|dir| dir.join("agent"));
    beside.ok_or_else(|| {
        anyhow!("neither XDG_RUNTIME_DIR nor HOME is set — the environment — set one, or give --dir")
    })
}

/// The address of this machine from which the control plane is reached. Nothing is sent.
pub fn towards(control: SocketAddr) -> anyhow::Result<IpAddr> {
    let any: IpAddr = if control.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0_u16; 8].into()
    };
    let found = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(control)?;
        socket.local_addr()
    });
    let found = found.with_context(|| {
        format!("no address of this machine's reaches the control plane — {control} — give --advertise")
    })?;
    Ok(found.ip())
}

fn hexadecimal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{:08x}", v4.to_bits()),
        IpAddr::V6(v6) => format!("{:x}", v6.to_bits()),
    }
}
