//! Test program: a launcher, a proxy that merely reports what reaches it, and small clients.
#![allow(clippy::unwrap_used)]

mod clients;
mod proxy;

use std::{env, ffi::OsString, time::Duration};

use leno_run::{Launch, ProxyCommand, cluster_search, launch, probe};

fn main() {
    let mut arguments = env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    match verb.to_str().unwrap_or_default() {
        "launch" => launch_command(rest),
        "probe" => match probe() {
            Ok(abilities) => println!("{abilities:?}"),
            Err(error) => {
                eprintln!("error: {error}");
                std::process::exit(1);
            }
        },
        "proxy" => proxy::run(),
        "tcp" => clients::tcp(&rest),
        "udp" => clients::udp(&rest),
        "udp-refused" => clients::udp_refused(&rest),
        "serve" => clients::serve(&rest),
        other => panic!("unknown verb {other}"),
    }
}

/// `launch [--port P | --publish P | --advertise A | --drain MS | --threads]... -- COMMAND...`
fn launch_command(arguments: Vec<OsString>) {
    let mut what = Launch {
        name: "stub".to_owned(),
        search: cluster_search("default", "cluster.local"),
        ports: Vec::new(),
        advertise: None,
        publish: Vec::new(),
        command: Vec::new(),
        proxy: ProxyCommand {
            command: vec![env::current_exe().unwrap().into(), "proxy".into()],
            environment: Vec::new(),
        },
        drain: Duration::from_secs(5),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap().into_string().unwrap();
        match argument.to_str().unwrap() {
            "--port" => what.ports.push(value().parse().unwrap()),
            "--publish" => what.publish.push(value().parse().unwrap()),
            "--advertise" => what.advertise = Some(value().parse().unwrap()),
            "--drain" => what.drain = Duration::from_millis(value().parse().unwrap()),
            "--proxy" => what.proxy.command = vec![value().into()],
            "--threads" => drop(std::thread::spawn(std::thread::park)),
            "--" => break,
            other => panic!("unknown flag {other}"),
        }
    }
    what.command = arguments.collect();
    match launch(&what) {
        Ok(ending) => ending.leave(),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(error.exit_code());
        }
    }
}
