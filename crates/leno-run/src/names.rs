//! How names are looked up inside: own `resolv.conf` and `nsswitch.conf`.
//!
//! The C library must ask DNS on port 53, where the query is captured, and must know the mesh's
//! search list (resolv.conf(5), as Kubernetes writes it into pods). Three things would lead it
//! elsewhere: nsswitch modules that ask a daemon (nss-resolve, nss-mdns), nscd, and the host's
//! own resolv.conf. All are covered by mounts that only this mount namespace sees.

use std::{fmt::Write as _, fs, io, path::Path};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const NSSWITCH_CONF: &str = "/etc/nsswitch.conf";
/// Directories that every system has one of; the files are made in a tmpfs that covers it for a
/// moment, before the command starts.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/mnt"];
const NSCD: &str = "/run/nscd";

/// The search list of a pod in this namespace (resolv.conf(5)).
pub fn cluster_search(namespace: &str, cluster_domain: &str) -> Vec<String> {
    vec![
        format!("{namespace}.svc.{cluster_domain}"),
        format!("svc.{cluster_domain}"),
        cluster_domain.to_owned(),
    ]
}

/// Mounts the files over the system's, in the calling process's mount namespace.
pub(crate) fn mount(search: &[String]) -> io::Result<()> {
    // Nothing mounted here may show in the host, while the host's later mounts may show here.
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    let scratch = SCRATCH
        .into_iter()
        .map(Path::new)
        .find(|path| path.is_dir())
        .ok_or(io::ErrorKind::NotFound)?;
    let resolv_conf = resolv_conf(search, &fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    // Without that file the C library uses "files dns", which is what is wanted.
    let nsswitch_conf = fs::read_to_string(NSSWITCH_CONF)
        .ok()
        .map(|text| nsswitch_conf(&text));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", scratch, "tmpfs", flags, c"mode=0755")?;
    cover(RESOLV_CONF, &scratch.join("resolv.conf"), &resolv_conf)?;
    if let Some(text) = nsswitch_conf {
        cover(NSSWITCH_CONF, &scratch.join("nsswitch.conf"), &text)?;
    }
    if Path::new(NSCD).is_dir() {
        let empty = scratch.join("nscd");
        fs::create_dir(&empty)?;
        rustix::mount::mount_bind(&empty, NSCD)?;
    }
    // The mounted files keep the file system alive; only its root goes out of sight.
    rustix::mount::unmount(scratch, UnmountFlags::DETACH)?;
    Ok(())
}

fn cover(path: &str, scratch: &Path, text: &str) -> io::Result<()> {
    fs::write(scratch, text)?;
    rustix::mount::mount_bind(scratch, path)?;
    Ok(())
}

/// As kubelet makes it for `dnsPolicy: ClusterFirst`: the mesh's search list before the host's.
fn resolv_conf(search: &[String], host: &str) -> String {
    // The last `search` or `domain` line counts.
    let mut own: Vec<&str> = Vec::new();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        if matches!(words.next(), Some("search" | "domain")) {
            own = words.filter(|domain| *domain != ".").collect();
        }
    }
    let mut text = String::from("nameserver 127.0.0.1\n");
    let mut domains: Vec<&str> = search.iter().map(String::as_str).collect();
    for domain in own {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    if !domains.is_empty() {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    text.push_str("options ndots:5\n");
    text
}

/// The host's file with hosts looked up in files and DNS only.
fn nsswitch_conf(host: &str) -> String {
    let others = host
        .lines()
        .filter(|line| !line.trim_start().starts_with("hosts:"));
    others
        .chain(["hosts: files dns"])
        .fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Vec<String> {
        cluster_search("default", "cluster.local")
    }

    #[test]
    fn the_meshs_domains_come_first_and_the_hosts_own_remain() {
        let text = resolv_conf(
            &mesh(),
            "nameserver 10.0.0.1\ndomain old\nsearch corp.example cluster.local\n",
        );
        assert_eq!(
            text,
            "nameserver 127.0.0.1\n\
             search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
             options ndots:5\n"
        );
    }

    #[test]
    fn only_the_hosts_line_of_nsswitch_changes() {
        let text = nsswitch_conf("passwd: files systemd\nhosts: files resolve [!UNAVAIL=return] dns\n");
        assert_eq!(text, "passwd: files systemd\nhosts: files dns\n");
    }
}
