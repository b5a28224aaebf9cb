//! Ports for programs that are told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as Name, UnixListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Below `ip_local_port_range`: the kernel gives none of them to somebody who asks for any.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that nobody listens at, and that no other test of this machine is given while this one runs.
///
/// # Panics
///
/// When all ports are taken.
#[track_caller]
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let start = usize::try_from(std::process::id()).expect("a process id") * 61;
    for _ in RANGE {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE.len();
        let port = RANGE.start + u16::try_from(offset).expect("within the range");
        let name = Name::from_abstract_name(format!("leno-test-port-{port}")).expect("a short name");
        let Ok(claim) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            CLAIMS.lock().expect("no test panics in here").push(claim);
            return port;
        }
    }
    panic!("no port is free in {RANGE:?}")
}

/// The same on 127.0.0.1.
#[track_caller]
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
