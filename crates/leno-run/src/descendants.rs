//! Ending everything that was started below this process.

use std::{fs, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process},
};

/// How often, and how far apart, what does not die at once (a process in uninterruptible sleep)
/// is looked at again: 2 s in all.
const ROUNDS: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// Kills all children until there are none, and reaps them. This process must be a subreaper:
/// then the children of what is killed become its own, and come next.
pub(crate) fn end_all() {
    for _ in 0..ROUNDS {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(None) => {}
        }
        for pid in children(getpid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.is_ok_and(|stat| parent_in(&stat) == Some(parent))
        })
        .collect()
}

/// The fourth field of proc_pid_stat(5). The second is the program's name in brackets, which may
/// itself hold spaces and brackets.
fn parent_in(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_an_odd_name() {
        assert_eq!(parent_in("12 (a) b (c) S 34 12 12 0"), Pid::from_raw(34));
        assert_eq!(parent_in("12 (a"), None);
        assert_eq!(parent_in(""), None);
    }
}
