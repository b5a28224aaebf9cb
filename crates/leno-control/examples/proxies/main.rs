//! Thousands of proxies in one process, each a delta ADS stream over its own TLS connection, and a control plane beside
//! them in a process of its own: how long a change takes from its source to the proxies' acknowledgements, and what that
//! costs. See `bench/control/README.md`.
//!
//! ```text
//! cargo run --release -p leno-control --example proxies -- target/release/leno [NAME=NUMBER]...
//! ```

mod mesh;
mod plane;
mod proxy;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// How large, and for how long.
#[derive(Clone, Debug)]
pub struct Sizes(BTreeMap<&'static str, usize>);

const DEFAULTS: [(&str, usize); 9] = [
    ("services", 1000),
    ("endpoints", 10),
    ("proxies", 2000),
    ("used", 20),
    // Changes of which each is waited for.
    ("rounds", 100),
    ("wide-rounds", 20),
    // Seconds of ten changes a second, and of the storm.
    ("steady", 60),
    ("storm", 60),
    // Changes a second in the storm.
    ("rate", 1000),
];

impl Sizes {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut sizes: BTreeMap<&'static str, usize> = DEFAULTS.into();
        for argument in arguments {
            let (name, value) = argument.split_once('=').context("NAME=NUMBER")?;
            let Some(size) = sizes.iter_mut().find(|(known, _)| **known == name) else {
                bail!("{name} is none of {:?}", DEFAULTS.map(|(name, _)| name));
            };
            *size.1 = value
                .parse()
                .with_context(|| format!("{argument} is no number"))?;
        }
        Ok(Self(sizes))
    }

    pub fn of(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((leno, sizes)) = arguments.split_first() else {
        bail!("usage: proxies LENO [NAME=NUMBER]... with {DEFAULTS:?}");
    };
    let table = rows::run(&PathBuf::from(leno), &Sizes::parse(sizes)?).await?;
    println!("{}", serde_json::to_string_pretty(&table)?);
    Ok(())
}
