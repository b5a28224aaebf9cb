//! What a configuration says of sockets, told to the kernel.

use std::io;
use std::time::Duration;

use leno_engine::compile::socket::{IpVersion, SocketOption, What, When};
use socket2::{SockRef, TcpKeepalive};

/// Sets those that are to be set by now.
pub(crate) fn apply(options: &[SocketOption], socket: &SockRef<'_>, ipv6: bool, now: When) -> io::Result<()> {
    let family = if ipv6 { IpVersion::V6 } else { IpVersion::V4 };
    options
        .iter()
        .filter(|option| option.when == now && option.family.is_none_or(|wanted| wanted == family))
        .try_for_each(|option| set(&option.what, socket, ipv6))
}

fn set(what: &What, socket: &SockRef<'_>, ipv6: bool) -> io::Result<()> {
    match *what {
        What::ReuseAddress(on) => socket.set_reuse_address(on),
        What::ReusePort(on) => socket.set_reuse_port(on),
        What::SendBuffer(bytes) => socket.set_send_buffer_size(bytes as usize),
        What::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes as usize),
        What::Keepalive(on) => socket.set_keepalive(on),
        What::Priority(priority) => socket.set_priority(priority),
        What::Mark(mark) => socket.set_mark(mark),
        What::Device(ref name) => socket.bind_device(Some(name)),
        What::NoDelay(on) => socket.set_tcp_nodelay(on),
        What::MaxSegment(bytes) => socket.set_tcp_mss(bytes),
        What::Cork(on) => socket.set_tcp_cork(on),
        What::KeepaliveTime(seconds) => probes(socket, |probes| probes.with_time(secs(seconds))),
        What::KeepaliveInterval(seconds) => probes(socket, |probes| probes.with_interval(secs(seconds))),
        What::KeepaliveProbes(count) => probes(socket, |probes| probes.with_retries(count)),
        What::QuickAck(on) => socket.set_tcp_quickack(on),
        What::Congestion(ref name) => socket.set_tcp_congestion(name),
        What::UserTimeout(milliseconds) => {
            socket.set_tcp_user_timeout(Some(Duration::from_millis(milliseconds.into())))
        }
        What::NotSentLowat(bytes) => socket.set_tcp_notsent_lowat(bytes),
        What::Tos(tos) => socket.set_tos_v4(tos),
        What::Ttl(ttl) => socket.set_ttl_v4(ttl),
        What::Freebind(on) if ipv6 => socket.set_freebind_v6(on),
        What::Freebind(on) => socket.set_freebind_v4(on),
        What::Transparent(on) if ipv6 => socket.set_ip_transparent_v6(on),
        What::Transparent(on) => socket.set_ip_transparent_v4(on),
        What::OnlyV6(on) => socket.set_only_v6(on),
        What::HopLimit(hops) => socket.set_unicast_hops_v6(hops),
        What::TrafficClass(class) => socket.set_tclass_v6(class),
    }
}

fn secs(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// How there are probes, without a word on whether there are any.
fn probes(socket: &SockRef<'_>, with: impl FnOnce(TcpKeepalive) -> TcpKeepalive) -> io::Result<()> {
    let on = socket.keepalive()?;
    socket.set_tcp_keepalive(&with(TcpKeepalive::new()))?;
    socket.set_keepalive(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    fn option(what: What, when: When, family: Option<IpVersion>) -> SocketOption {
        SocketOption { what, when, family }
    }

    #[test]
    fn each_is_set_when_it_is_due_and_on_sockets_that_it_is_for() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let options = [
            option(What::KeepaliveTime(77), When::Created, None),
            option(What::Tos(0x10), When::Created, Some(IpVersion::V4)),
            option(What::OnlyV6(true), When::Created, Some(IpVersion::V6)),
            option(What::UserTimeout(1234), When::Bound, None),
        ];
        let socket = SockRef::from(&socket);
        apply(&options, &socket, false, When::Created).unwrap();
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(socket.tos_v4().unwrap(), 0x10);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        apply(&options, &socket, false, When::Bound).unwrap();
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_millis(1234))
        );
    }
}
