//! The wire format, as much of it as moving whole fields takes.

/// One field of an encoded message.
pub(super) struct Record<'a> {
    pub(super) number: u32,
    /// With its tag.
    pub(super) whole: &'a [u8],
    /// What a length-delimited field holds; empty for others.
    pub(super) payload: &'a [u8],
}

/// The fields of a message in their order; None if it is cut off, or has groups, which proto3 does not.
pub(super) fn records(message: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let tag = varint(&mut rest)?;
        let payload = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                &[]
            }
            1 => take(&mut rest, 8).map(|_| &[][..])?,
            2 => {
                let length = varint(&mut rest)?;
                take(&mut rest, usize::try_from(length).ok()?)?
            }
            5 => take(&mut rest, 4).map(|_| &[][..])?,
            _ => return None,
        };
        records.push(Record {
            number: u32::try_from(tag >> 3).ok()?,
            whole: start.get(..start.len() - rest.len())?,
            payload,
        });
    }
    Some(records)
}

/// A length-delimited field.
pub(super) fn put(number: u32, payload: &[u8], into: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, into);
    put_varint(payload.len() as u64, into);
    into.extend_from_slice(payload);
}

fn put_varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}
