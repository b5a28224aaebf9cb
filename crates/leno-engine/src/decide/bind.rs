//! What a connection to an upstream comes from.

use std::net::SocketAddr;

use crate::compile::bind::Bind;
use crate::compile::cluster::Cluster;
use crate::compile::socket::SocketOption;

impl Bind {
    /// The first of the same family, and how its socket is made.
    fn toward(&self, to: SocketAddr) -> (Option<SocketAddr>, &[SocketOption]) {
        let mut sources = self.sources.iter();
        let source = sources.find(|source| source.address.is_ipv4() == to.is_ipv4());
        match source {
            None => (None, &self.options),
            Some(source) => {
                let options = source.options.as_ref().unwrap_or(&self.options);
                (Some(source.address), options)
            }
        }
    }
}

impl Cluster {
    /// What a connection there comes from (None: as the kernel likes), and how its socket is made.
    pub fn socket_toward(&self, to: SocketAddr) -> (Option<SocketAddr>, Vec<SocketOption>) {
        let (source, options) = match &self.bind {
            None => (None, &[][..]),
            Some(bind) => bind.toward(to),
        };
        (source, [&self.keepalive, options].concat())
    }
}
