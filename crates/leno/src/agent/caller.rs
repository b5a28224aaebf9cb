//! Who is at the other end of a connection over loopback: what a Unix socket's permissions say, for those who cannot
//! use one.
//!
//! gRPC's C core sends the percent-encoded path of a Unix socket as `:authority`, which no strict HTTP/2 server takes
//! (RFC 3986, section 3.2.2). So gRPC comes over TCP, and the kernel is asked whose the other socket is (proc_net_tcp).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddrV4;

/// `TCP_ESTABLISHED` in net/tcp_states.h. In any other state the socket may have no owner any more, which reads as
/// root.
const ESTABLISHED: &str = "01";

/// Whether the program that connected from `client` to our `server` runs as this user.
pub fn is_this_user(client: SocketAddrV4, server: SocketAddrV4) -> io::Result<bool> {
    let table = |name| File::open(name).map(BufReader::new);
    let ends = (v4(client), v4(server));
    let mut found = owner(table("/proc/self/net/tcp")?, ends)?;
    if found.is_none() {
        // A socket of both families, as gRPC's are.
        found = match table("/proc/self/net/tcp6") {
            Ok(table) => owner(table, (mapped(client), mapped(server)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
    }
    Ok(found == Some(rustix::process::geteuid().as_raw()))
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid …`
fn owner(table: impl BufRead, (client, server): (String, String)) -> io::Result<Option<u32>> {
    for line in table.lines() {
        let line = line?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, local, remote, state, _, _, _, uid, ..] = fields.as_slice()
            && (*local, *remote, *state) == (client.as_str(), server.as_str(), ESTABLISHED)
        {
            return Ok(uid.parse().ok());
        }
    }
    Ok(None)
}

/// Each word of the address in host order.
fn v4(address: SocketAddrV4) -> String {
    let word = u32::from_ne_bytes(address.ip().octets());
    format!("{word:08X}:{:04X}", address.port())
}

/// `::ffff:127.0.0.1`
fn mapped(address: SocketAddrV4) -> String {
    let prefix = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    format!("{:016X}{prefix:08X}{}", 0, v4(address))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn plain(address: SocketAddr) -> SocketAddrV4 {
        match (address.ip().to_canonical(), address.port()) {
            (std::net::IpAddr::V4(ip), port) => SocketAddrV4::new(ip, port),
            _ => unreachable!("bound to IPv4"),
        }
    }

    #[test]
    fn the_kernel_says_whose_a_connection_is_whatever_its_sockets_family() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = plain(listener.local_addr().unwrap());
        for target in [server.ip().to_string(), format!("::ffff:{}", server.ip())] {
            let target: SocketAddr = (target.parse::<std::net::IpAddr>().unwrap(), server.port()).into();
            let stream = TcpStream::connect(target).unwrap();
            let client = plain(stream.local_addr().unwrap());
            assert!(is_this_user(client, server).unwrap(), "{target}");
            let _accepted = listener.accept().unwrap();
            drop(stream);
            // Its owner is gone.
            assert!(!is_this_user(client, server).unwrap());
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn anothers_connection_is_anothers() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
             0: 0100007F:C350 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 1\n";
        let (client, server) = ("0100007F:C350".to_owned(), "0100007F:1388".to_owned());
        let found = owner(table.as_bytes(), (client.clone(), server.clone())).unwrap();
        assert_eq!(found, Some(1000));
        assert_eq!(owner(table.as_bytes(), (server, client)).unwrap(), None);
    }
}
