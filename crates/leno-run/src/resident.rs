//! Memory that only starting up needed.
//!
//! What a process has resident when it begins to serve is mostly code and constants: of a program that is control plane,
//! proxy and command line in one, parsing arguments and configuration touches several megabytes that are never looked
//! at again. The kernel keeps them mapped as long as there is memory, once for every workload. Given back, they stay in
//! the page cache; what is wanted again comes back by itself, with a minor fault.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;

/// A mapping as `/proc/self/smaps` tells of it.
#[derive(Debug)]
struct Mapping {
    addresses: Range<usize>,
    /// From a file, private, and not writable.
    is_constant: bool,
    /// It has pages that are not the file's any more: relocated before they were made constant, or with breakpoints.
    is_changed: bool,
}

/// Gives back the pages of all code and constants that are loaded.
pub fn let_go_of_start_up() -> io::Result<()> {
    for mapping in mappings(BufReader::with_capacity(4096, File::open("/proc/self/smaps")?))? {
        if !mapping.is_constant || mapping.is_changed {
            continue;
        }
        let Range { start, end } = mapping.addresses;
        // SAFETY: every page of the mapping is the file's, and none can be written to, so that dropping one changes
        // nothing that anybody can read: the next access gets it from the file again. Nothing is unmapped: an address
        // that was valid stays so.
        let advised = unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
        if advised != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Line by line: all of it at once would be more memory that only starting up needs.
fn mappings(mut smaps: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut all: Vec<Mapping> = Vec::new();
    let mut line = String::new();
    while smaps.read_line(&mut line)? > 0 {
        if let Some(mapping) = header(&line) {
            all.push(mapping);
        } else if let (Some(changed), Some(last)) = (line.strip_prefix("Anonymous:"), all.last_mut()) {
            last.is_changed = changed.trim() != "0 kB";
        }
        line.clear();
    }
    Ok(all)
}

/// `55d0c0a00000-55d0c1a00000 r-xp 00100000 fe:00 42 /usr/bin/leno`
fn header(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    let flags = words.next()?;
    let of_file = words.nth(3).is_some_and(|file| file.starts_with('/'));
    Some(Mapping {
        addresses: parse(start)?..parse(end)?,
        is_constant: of_file && matches!(flags, "r-xp" | "r--p"),
        // Until it is told.
        is_changed: true,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CODE: &str = "55d0c0a00000-55d0c1a00000 r-xp 00100000 fe:00 42 /usr/bin/leno";

    fn given_back(header: &str, anonymous: &str) -> bool {
        let smaps = format!("{header}\nRss: 4 kB\nAnonymous: {anonymous} kB\nVmFlags: rd ex\n");
        let [mapping] = &mappings(smaps.as_bytes()).unwrap()[..] else {
            unreachable!("one mapping in {smaps}");
        };
        assert_eq!(mapping.addresses, 0x55d0_c0a0_0000..0x55d0_c1a0_0000);
        mapping.is_constant && !mapping.is_changed
    }

    #[test]
    fn only_what_is_the_file_s_and_stays_so_is_given_back() {
        assert!(given_back(CODE, "0"));
        assert!(given_back(&CODE.replace("r-xp", "r--p"), "0"));
        assert!(!given_back(CODE, "4"), "it has a page of its own");
        for kept in [
            CODE.replace("r-xp", "rwxp"),
            CODE.replace("r-xp", "rw-p"),
            CODE.replace("r-xp", "r--s"),
            CODE.replace("/usr/bin/leno", "[vdso]"),
            CODE.replace(" /usr/bin/leno", ""),
        ] {
            assert!(!given_back(&kept, "0"), "{kept}");
        }
    }

    /// KiB of code and constants that are resident.
    fn resident() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut counts = false;
        let mut sum = 0;
        for line in smaps.lines() {
            if let Some(mapping) = header(line) {
                counts = mapping.is_constant;
            } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| counts) {
                sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        sum
    }

    #[test]
    fn less_is_resident_and_everything_still_runs() {
        let before = resident();
        let_go_of_start_up().unwrap();
        let after = resident();
        assert!(after < before, "{after} KiB of {before} KiB");
        assert!(given_back(CODE, "0"));
    }
}
