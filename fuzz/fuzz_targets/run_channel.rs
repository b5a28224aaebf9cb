//! What proxy and supervisor of `leno run` read from each other, and that messages come back as they were sent.
#![no_main]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use leno_run::{Channel, FromProxy, ToProxy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Datagrams keep messages apart as SOCK_SEQPACKET does.
    let (Ok((one, other)), false) = (UnixDatagram::pair(), bytes.is_empty()) else {
        return;
    };
    let channel = Channel::from(OwnedFd::from(other));
    if one.send(bytes).is_ok()
        && let Ok(Some((message, _))) = channel.try_recv::<ToProxy>()
    {
        let sender = Channel::from(OwnedFd::from(one.try_clone().expect("a descriptor")));
        if sender.try_send(&message, &[]).is_ok() {
            let (again, _) = channel.try_recv::<ToProxy>().expect("reads").expect("is there");
            assert_eq!(again, message);
        }
    }
    if one.send(bytes).is_ok() {
        let _ = channel.try_recv::<FromProxy>();
    }
});
