//! Ids that nobody else has.

use std::io::Write;
use std::time::SystemTime;

/// A random UUID: each that is written is another.
pub(super) fn unique_id(out: &mut Vec<u8>, random: u64, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let place = (out.len() as u64).wrapping_mul(0xd605_1b6d_85a8_5e2b);
    write_uuid(out, random ^ place, SystemTime::UNIX_EPOCH + now)
}

/// One of a connection: always the same.
pub(super) fn write_uuid(out: &mut Vec<u8>, random: u64, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // splitmix64
    let mix = |seed: u64| {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let high = mix(random);
    let low = mix(high ^ (now.as_nanos() as u64) ^ random.rotate_left(32));
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
    let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    write!(out, "{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}").is_ok()
}
