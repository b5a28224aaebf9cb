//! A proxy that reports: clients are told what was captured, and the test reads the rest from the
//! file `STUB_LOG`. `STUB_MODE` makes it misbehave.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use leno_capture::original_dst::{Captured, original_destination};
use leno_run::{Channel, Family, FromProxy, Handoff, HostRole, NamespaceRole, ToProxy};
use rustix::event::{PollFd, PollFlags, poll};

/// Sockets of the application's namespace, by family.
struct Stock {
    v4: Mutex<Receiver<OwnedFd>>,
    v6: Mutex<Receiver<OwnedFd>>,
}

pub(crate) fn run() {
    log(&format!("pid {}", std::process::id()));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    log(status.lines().find(|line| line.starts_with("SigBlk")).unwrap());
    let mode = env::var("STUB_MODE").unwrap_or_default();
    if mode == "crash" {
        std::process::exit(3);
    }
    let handoff = Handoff::take().unwrap();
    assert!(Handoff::take().is_err(), "descriptors are taken once");
    log(&format!("address {}", handoff.address));
    if mode == "fail" {
        let message = "no identity — control plane — start it".to_owned();
        handoff
            .channel
            .try_send(&FromProxy::Failed { message }, &[])
            .unwrap();
        return;
    }
    let (give_v4, v4) = channel();
    let (give_v6, v6) = channel();
    let stock = Arc::new(Stock {
        v4: Mutex::new(v4),
        v6: Mutex::new(v6),
    });
    for listener in handoff.listeners {
        log(&format!("host {:?} {}", listener.role, listener.address));
        let stock = stock.clone();
        thread::spawn(move || serve_host(listener.role, listener.socket.into(), &stock));
    }
    while let Some((message, descriptors)) = receive(&handoff.channel) {
        handle(&handoff.channel, message, descriptors, &give_v4, &give_v6, &mode);
    }
}

fn handle(
    channel: &Channel,
    message: ToProxy,
    descriptors: Vec<OwnedFd>,
    give_v4: &Sender<OwnedFd>,
    give_v6: &Sender<OwnedFd>,
    mode: &str,
) {
    match message {
        ToProxy::Listeners(listeners) => {
            assert_eq!(listeners.len(), descriptors.len());
            for (listener, socket) in listeners.into_iter().zip(descriptors) {
                thread::spawn(move || serve_namespace(listener.role, socket));
            }
            for family in [Family::V4, Family::V6] {
                channel
                    .try_send(&FromProxy::NeedSockets { family, count: 8 }, &[])
                    .unwrap();
            }
            if mode != "never-ready" {
                channel.try_send(&FromProxy::Ready, &[]).unwrap();
            }
        }
        ToProxy::Sockets { family, error } => {
            assert_eq!((descriptors.len(), error), (8, None));
            let give = if family == Family::V4 { give_v4 } else { give_v6 };
            descriptors
                .into_iter()
                .for_each(|socket| give.send(socket).unwrap());
        }
        ToProxy::Listening { port, family } => log(&format!("listening {port} {family:?}")),
        ToProxy::Closed { port } => log(&format!("closed {port}")),
        ToProxy::Stopping { drain_ms } => log(&format!("stopping {drain_ms}")),
        ToProxy::Exited { code } => {
            log(&format!("exited {code}"));
            match mode {
                "linger" => {}
                "drained" => channel.try_send(&FromProxy::Drained, &[]).unwrap(),
                _ => std::process::exit(0),
            }
        }
    }
}

fn receive(channel: &Channel) -> Option<(ToProxy, Vec<OwnedFd>)> {
    loop {
        match channel.try_recv() {
            Ok(message) => return message,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&channel.as_fd(), PollFlags::IN)], None).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn serve_namespace(role: NamespaceRole, socket: OwnedFd) {
    match role {
        NamespaceRole::Outbound => {
            for stream in blocking(socket.into()).incoming() {
                let mut stream = stream.unwrap();
                let destination = original_destination(&stream, Captured::Redirect).unwrap();
                let _ = write!(
                    stream,
                    "to {destination} from {}",
                    stream.peer_addr().unwrap().ip()
                );
            }
        }
        NamespaceRole::DnsTcp => {
            for stream in blocking(socket.into()).incoming() {
                let _ = stream.unwrap().write_all(b"dns-tcp");
            }
        }
        NamespaceRole::DnsUdp => {
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(false).unwrap();
            let mut buffer = [0; 512];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                socket.send_to(b"dns-udp", peer).unwrap();
            }
        }
    }
}

/// What comes from the host goes to the application, over a socket of its namespace.
fn serve_host(role: HostRole, listener: TcpListener, stock: &Stock) {
    let (HostRole::Inbound { port } | HostRole::Published { port }) = role else {
        return;
    };
    for stream in blocking(listener).incoming() {
        let mut client = stream.unwrap();
        let v4 = connect(
            stock.v4.lock().unwrap().recv().unwrap(),
            (Ipv4Addr::LOCALHOST, port).into(),
        );
        let mut application = v4.unwrap_or_else(|_| {
            connect(
                stock.v6.lock().unwrap().recv().unwrap(),
                (Ipv6Addr::LOCALHOST, port).into(),
            )
            .unwrap()
        });
        let _ = io::copy(&mut application, &mut client);
    }
}

fn connect(socket: OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

fn blocking(listener: TcpListener) -> TcpListener {
    listener.set_nonblocking(false).unwrap();
    listener
}

fn log(line: &str) {
    if let Some(path) = env::var_os("STUB_LOG") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
