//! What to do about a machine that forbids or lacks what a workload needs.

use std::fs;

/// A part of furnishing the namespaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Unshare,
    Identity,
    Names,
    Routes,
    Rules,
    LowPorts,
    Listeners,
}

/// What the machine's settings say about namespaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    /// `kernel.unprivileged_userns_clone` (Debian's and Arch's patch): 0 forbids.
    unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu): 1 lets a user namespace be made,
    /// but gives no capabilities in it.
    apparmor_restricts: Option<u64>,
    /// `user.max_user_namespaces`: 0 forbids.
    max_user_namespaces: Option<u64>,
    /// `user.max_net_namespaces`: 0 forbids.
    max_net_namespaces: Option<u64>,
    /// A seccomp filter is in force, as container engines set one.
    seccomp: bool,
}

impl Facts {
    pub(crate) fn of_this_machine() -> Self {
        let number = |name: &str| {
            fs::read_to_string(format!("/proc/sys/{name}"))
                .ok()
                .and_then(|text| text.trim().parse().ok())
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            unprivileged_userns_clone: number("kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns"),
            max_user_namespaces: number("user/max_user_namespaces"),
            max_net_namespaces: number("user/max_net_namespaces"),
            seccomp: status.lines().any(|line| {
                line.strip_prefix("Seccomp:")
                    .is_some_and(|mode| mode.trim() == "2")
            }),
        }
    }
}

/// What the user can do, given at which step which error came.
pub(crate) fn remedy(step: Step, errno: Option<i32>, facts: &Facts) -> &'static str {
    if step == Step::Rules && !matches!(errno, Some(libc::EPERM | libc::EACCES)) {
        return "load the kernel's modules: `sudo modprobe -a nf_tables nft_chain_nat nft_redir nft_fib_inet \
                nft_reject_inet`, or use a kernel with CONFIG_NF_TABLES_INET";
    }
    if step == Step::Names && errno == Some(libc::ENOENT) {
        return "there must be a file to mount over: `sudo touch /etc/resolv.conf`";
    }
    if step == Step::LowPorts {
        return "/proc/sys is read-only here (a container?): declare a port from 1024 on, or start the container \
                with a writable /proc/sys";
    }
    forbidden(errno, facts)
}

fn forbidden(errno: Option<i32>, facts: &Facts) -> &'static str {
    if facts.max_user_namespaces == Some(0) {
        return "user namespaces are turned off: `sudo sysctl user.max_user_namespaces=15000`, or run as root";
    }
    if facts.max_net_namespaces == Some(0) {
        return "network namespaces are turned off: `sudo sysctl user.max_net_namespaces=15000`";
    }
    if facts.unprivileged_userns_clone == Some(0) {
        return "user namespaces are for root only: `sudo sysctl kernel.unprivileged_userns_clone=1`, or run as root";
    }
    if facts.apparmor_restricts == Some(1) {
        return "AppArmor restricts user namespaces: `sudo sysctl \
                kernel.apparmor_restrict_unprivileged_userns=0`, or give this program a profile with `userns,`, or \
                run as root";
    }
    match errno {
        Some(libc::ENOSPC | libc::EUSERS) => {
            "too many namespaces: raise user.max_user_namespaces and user.max_net_namespaces with sysctl, or stop \
             other workloads"
        }
        Some(libc::EINVAL | libc::ENOSYS) => "the kernel needs CONFIG_USER_NS and CONFIG_NET_NS",
        _ if facts.seccomp => {
            "a seccomp filter forbids it (a container?): start the container with `--security-opt \
             seccomp=unconfined`, or with the capabilities SYS_ADMIN and NET_ADMIN"
        }
        _ => {
            "run as root, or on a machine where an ordinary user may run `unshare --user --net --mount true`"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_forbids_is_named() {
        let cases = [
            (
                Facts {
                    max_user_namespaces: Some(0),
                    ..Facts::default()
                },
                "user.max_user_namespaces",
            ),
            (
                Facts {
                    max_net_namespaces: Some(0),
                    ..Facts::default()
                },
                "user.max_net_namespaces",
            ),
            (
                Facts {
                    unprivileged_userns_clone: Some(0),
                    ..Facts::default()
                },
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                Facts {
                    apparmor_restricts: Some(1),
                    ..Facts::default()
                },
                "apparmor_restrict_unprivileged_userns=0",
            ),
            (
                Facts {
                    seccomp: true,
                    ..Facts::default()
                },
                "seccomp=unconfined",
            ),
        ];
        for (facts, name) in cases {
            let text = remedy(Step::Unshare, Some(libc::EPERM), &facts);
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn settings_that_allow_are_not_blamed() {
        let facts = Facts {
            unprivileged_userns_clone: Some(1),
            apparmor_restricts: Some(0),
            max_user_namespaces: Some(100),
            max_net_namespaces: Some(100),
            seccomp: false,
        };
        assert!(remedy(Step::Unshare, Some(libc::EPERM), &facts).contains("run as root"));
    }

    #[test]
    fn missing_modules_are_named() {
        let text = remedy(Step::Rules, Some(libc::EOPNOTSUPP), &Facts::default());
        assert!(text.contains("modprobe"), "{text}");
    }
}
