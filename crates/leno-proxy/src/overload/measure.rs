//! What is measured of the process, its control group and the machine.

use std::fs;
use std::path::Path;

use leno_engine::compile::overload::{Monitor, Resource};

use crate::resident;

/// What is known from one measurement to the next.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Ticks of the processors so far, those with work and all of them, and the mean of their share.
    processors: Option<(f64, f64)>,
    busy: f64,
}

/// How much the newest measurement of the processors counts.
const NEWEST: f64 = 0.05;

impl Gauges {
    /// By monitor. None: it cannot be measured, or is not that way.
    pub(super) fn read(&mut self, monitors: &[Monitor]) -> Vec<Option<f64>> {
        let each = monitors.iter().map(|monitor| match &monitor.resource {
            Resource::Heap { most } => Some(resident::resident()? as f64 / most.now().max(1) as f64),
            Resource::Cgroup { most } => of_group(Path::new("/sys/fs/cgroup"), *most),
            Resource::Cpu => self.of_processors(),
            Resource::Injected { file } => {
                let text = fs::read_to_string(file).ok()?;
                let said: f64 = text.trim().parse().ok()?;
                (0.0..=1.0).contains(&said).then_some(said)
            }
            Resource::Connections => None,
        });
        each.collect()
    }

    fn of_processors(&mut self) -> Option<f64> {
        let (work, all) = ticks(&fs::read_to_string("/proc/stat").ok()?)?;
        let (work_before, all_before) = self.processors.replace((work, all)).unwrap_or((work, all));
        let (work, all) = (work - work_before, all - all_before);
        if all > 0.0 {
            self.busy = NEWEST * work / all + (1.0 - NEWEST) * self.busy;
        }
        Some(self.busy)
    }
}

/// Of version 2 of control groups, else of version 1.
fn of_group(root: &Path, most: Option<u64>) -> Option<f64> {
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(root.join(name)).ok()?;
        match text.trim() {
            "max" => Some(u64::MAX),
            text => text.parse().ok(),
        }
    };
    let used = number("memory.current").or_else(|| number("memory/memory.usage_in_bytes"))?;
    let limit = number("memory.max").or_else(|| number("memory/memory.limit_in_bytes"))?;
    let limit = most.map_or(limit, |most| most.min(limit));
    // Without a limit there is no pressure.
    Some(if limit == u64::MAX {
        0.0
    } else {
        used as f64 / limit.max(1) as f64
    })
}

/// Of user, nice and system, and of these with idle.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut ticks = line.split_whitespace().map(|ticks| ticks.parse::<f64>().ok());
    let mut next = || ticks.next().flatten();
    let work = next()? + next()? + next()?;
    Some((work, work + next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_memory_is_measured_by_the_lesser_limit() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        assert_eq!(of_group(root.path(), None), None);
        write("memory.current", "250\n");
        write("memory.max", "max\n");
        assert_eq!(of_group(root.path(), None), Some(0.0));
        assert_eq!(of_group(root.path(), Some(1000)), Some(0.25));
        write("memory.max", "500\n");
        assert_eq!(of_group(root.path(), Some(1000)), Some(0.5));
    }

    #[test]
    fn ticks_are_of_all_processors() {
        assert_eq!(ticks("cpu  1 2 3 4 5 6\ncpu0 9 9 9 9\n"), Some((6.0, 10.0)));
        assert_eq!(ticks("intr 1\n"), None);
    }
}
