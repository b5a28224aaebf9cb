//! Memory that only starting up needed.
//!
//! What a process has resident when it begins to serve is mostly code: of a program that is control plane, proxy and
//! command line in one, parsing arguments and configuration touches several megabytes that are never looked at again.
//! The kernel keeps them mapped as long as there is memory, once for every workload. Given back, they stay in the page
//! cache; what is run again comes back by itself, with a minor fault.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::ops::Range;

/// Unmaps the pages of all code that is loaded; what is run from here on comes back as it is run.
pub fn let_go_of_start_up() -> io::Result<()> {
    for range in fs::read_to_string("/proc/self/maps")?.lines().filter_map(code) {
        // SAFETY: a private, file-backed mapping that cannot be written has no page that differs from the file, so
        // that dropping a page changes nothing that anybody can read: the next access reads it from the file again.
        // Nothing is unmapped: an address that was valid stays so.
        let advised = unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_DONTNEED) };
        if advised != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The addresses of a line of `/proc/self/maps` that is code from a file: `r-xp`, private, and not writable.
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (addresses, flags) = (words.next()?, words.next()?);
    let file = words.nth(3)?;
    if flags != "r-xp" || !file.starts_with('/') {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some(parse(start)?..parse(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "55d0c0a00000-55d0c1a00000 r-xp 00100000 fe:00 42 /usr/bin/leno";

    #[test]
    fn only_code_from_files_is_let_go_of() {
        assert_eq!(code(CODE), Some(0x55d0_c0a0_0000..0x55d0_c1a0_0000));
        for kept in [
            CODE.replace("r-xp", "rwxp"),
            CODE.replace("r-xp", "rw-p"),
            CODE.replace("r-xp", "r--p"),
            CODE.replace("/usr/bin/leno", "[vdso]"),
            CODE.replace("/usr/bin/leno", ""),
        ] {
            assert_eq!(code(&kept), None, "{kept}");
        }
    }

    /// KiB of code that is resident.
    fn resident() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut of_code = false;
        let mut sum = 0;
        for line in smaps.lines() {
            if let Some(size) = line.strip_prefix("Rss:") {
                let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
                sum += if of_code { size } else { 0 };
            } else if line.split_ascii_whitespace().nth(1).is_some_and(|f| f.len() == 4) {
                of_code = code(line).is_some();
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
        assert_eq!(code(CODE).unwrap().len(), 16 << 20);
    }
}
