//! `leno dashboard`: the mesh as a page in a browser.

use std::io::{IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::env::Environment;
use crate::join::rendezvous;
use crate::output;

/// The mesh as a page in a browser: topology, workloads, configuration; prints its address
#[derive(Debug, Args)]
pub struct Dashboard {
    /// Open a browser, wherever this runs [default: on a terminal with a screen]
    #[arg(long, overrides_with = "no_open")]
    open: bool,
    /// Only print the address
    #[arg(long)]
    no_open: bool,
    /// The control plane's admin port [default: as the rendezvous file says]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

const TIMEOUT: Duration = Duration::from_secs(3);
/// Of what the admin port answers; it is one word.
const LONGEST_ANSWER: u64 = 4096;

/// Where the page is.
pub fn url(admin: SocketAddr) -> String {
    format!("http://{admin}/dashboard/")
}

pub fn run(args: &Dashboard, environment: &Environment) -> anyhow::Result<()> {
    let admin = match args.admin {
        Some(admin) => admin,
        None => {
            let found = rendezvous(environment)?.admin;
            found.parse().map_err(|_| {
                anyhow!(
                    "no admin port is known — the rendezvous file — restart `leno control`, or give --admin"
                )
            })?
        }
    };
    check(admin)?;
    let url = url(admin);
    output::text(format!("{url}\n"))?;
    let by_itself = std::io::stdout().is_terminal() && environment.has_screen && !args.no_open;
    if args.open || by_itself {
        open(&url)?;
    }
    Ok(())
}

/// Whether a control plane is there: a browser would only say that it cannot connect.
fn check(admin: SocketAddr) -> anyhow::Result<()> {
    let silent = |error: std::io::Error| {
        anyhow!(
            "the control plane does not answer ({error}) — {admin} — start it with `leno control --config DIR`"
        )
    };
    let mut connection = TcpStream::connect_timeout(&admin, TIMEOUT).map_err(silent)?;
    connection.set_read_timeout(Some(TIMEOUT)).map_err(silent)?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).map_err(silent)?;
    let mut answer = String::new();
    connection
        .take(LONGEST_ANSWER)
        .read_to_string(&mut answer)
        .map_err(silent)?;
    if !answer.starts_with("HTTP/1.1 200") {
        let said = answer.lines().next().unwrap_or("nothing");
        bail!("this is no control plane's admin port (it answers {said}) — {admin} — give the right --admin");
    }
    Ok(())
}

fn open(url: &str) -> anyhow::Result<()> {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let opened = command.status().with_context(|| {
        format!("no browser can be opened — {program} — open {url} yourself, or install xdg-utils")
    })?;
    if !opened.success() {
        bail!("no browser was opened ({opened}) — {program} — open {url} yourself");
    }
    Ok(())
}
