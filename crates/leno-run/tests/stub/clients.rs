//! Small programs that know nothing of leno.

use std::{
    ffi::OsString,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);

fn addresses(arguments: &[OsString]) -> impl Iterator<Item = SocketAddr> {
    arguments
        .iter()
        .map(|argument| argument.to_str().unwrap().parse().unwrap())
}

/// Prints what each address says until it closes.
pub(crate) fn tcp(arguments: &[OsString]) {
    for address in addresses(arguments) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        println!("{text}");
    }
}

/// Prints each address's answer to one datagram, on a connected socket.
pub(crate) fn udp(arguments: &[OsString]) {
    for address in addresses(arguments) {
        let socket = connected(address);
        socket.send(b"query").unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        println!("{}", String::from_utf8_lossy(&buffer[..length]));
    }
}

/// Fails if a datagram to an address vanishes or is answered, instead of being refused.
pub(crate) fn udp_refused(arguments: &[OsString]) {
    for address in addresses(arguments) {
        let socket = connected(address);
        let error = socket
            .send(b"x")
            .and_then(|_| socket.recv(&mut [0; 8]))
            .unwrap_err();
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "{error}");
    }
    println!("refused");
}

fn connected(address: SocketAddr) -> UdpSocket {
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// `serve 4|6 PORT`: says its name to everyone on loopback, for ever.
pub(crate) fn serve(arguments: &[OsString]) {
    let port: u16 = arguments[1].to_str().unwrap().parse().unwrap();
    let address: SocketAddr = match arguments[0].to_str().unwrap() {
        "4" => (Ipv4Addr::LOCALHOST, port).into(),
        _ => (Ipv6Addr::LOCALHOST, port).into(),
    };
    let listener = TcpListener::bind(address).unwrap();
    for stream in listener.incoming() {
        let _ = stream.unwrap().write_all(b"application");
    }
}
