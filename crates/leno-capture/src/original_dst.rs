//! Where a captured connection wanted to go.
//!
//! REDIRECT rewrites the destination, and the connection tracker remembers the true one:
//! `getsockopt(SO_ORIGINAL_DST)`. TPROXY and a socket that is itself bound to the destination
//! (the host-side listeners of `leno run`) leave it as the socket's own address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
};

use rustix::net::sockopt;

/// How a connection came to the listener that accepted it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Captured {
    /// By an nf_tables or iptables REDIRECT, or an eBPF program that plays the same part.
    Redirect,
    /// To its own destination: TPROXY, `sk_lookup`, or a listener bound to it.
    Bound,
}

/// The destination that the connecting application asked for.
///
/// For a redirected socket this is an error if the connection was not tracked; a connection made
/// straight to the listener has the listener's own address here, and the caller must refuse it,
/// or it would connect to itself for ever.
pub fn original_destination(socket: impl AsFd, captured: Captured) -> io::Result<SocketAddr> {
    let local = local_address(&socket)?;
    match captured {
        Captured::Bound => Ok(local),
        // An IPv4 connection on a dual-stack socket is IPv4 to the connection tracker.
        Captured::Redirect if local.is_ipv4() => {
            let address = sockopt::ip_original_dst(socket)?;
            Ok(SocketAddr::V4(address))
        }
        Captured::Redirect => {
            let address = sockopt::ipv6_original_dst(socket)?;
            Ok(SocketAddr::V6(address))
        }
    }
}

fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = SocketAddr::try_from(rustix::net::getsockname(socket)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an internet socket"))?;
    Ok(match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_bound_listeners_connection_wanted_the_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(
            original_destination(&accepted, Captured::Bound).unwrap(),
            listener.local_addr().unwrap()
        );
    }

    #[test]
    fn an_ipv4_connection_on_a_dual_stack_socket_has_an_ipv4_destination() {
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            leno_testkit::skip(
                "an_ipv4_connection_on_a_dual_stack_socket_has_an_ipv4_destination",
                "no IPv6",
            );
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let expected = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            original_destination(&accepted, Captured::Bound).unwrap(),
            expected
        );
    }

    #[test]
    fn something_that_is_no_internet_socket_is_an_error() {
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(original_destination(&one, Captured::Redirect).is_err());
    }
}
