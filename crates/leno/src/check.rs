//! `leno check`: can this machine run workloads? And if a control plane runs here: how long its certificates last.

use leno_proto::control::RootResponse;
use leno_tls::Age;

use crate::cert::shown::Shown;
use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output;

/// From here on somebody should know of it, in percent of a certificate's life.
const OLD: u8 = 50;

pub fn run(environment: &Environment) -> anyhow::Result<()> {
    leno_run::probe()?;
    output::text(
        "This machine can run workloads: user and network namespaces, redirection and mounts work.\n",
    )?;
    // Without a control plane there is no more to check.
    let Ok(join) = JoinArgs::default().resolve(environment) else {
        return Ok(());
    };
    let asked = output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.root("").await?) });
    match asked {
        Ok(told) => Ok(output::text(certificates(&told)?)?),
        Err(error) => {
            eprintln!("warning: {error:#}");
            Ok(())
        }
    }
}

fn certificates(told: &RootResponse) -> anyhow::Result<String> {
    let mut text = String::new();
    for certificate in &told.certificates {
        for shown in Shown::of_pem(certificate.pem.as_bytes(), "the control plane's answer")? {
            let (role, subject) = (&certificate.role, &shown.subject);
            text += &format!("The {role} {subject} lasts until {}.\n", shown.until());
            if shown.life_over() >= Age::from_percent(OLD) {
                eprintln!(
                    "warning: {} of the life of the {role} {subject} are over — state directory — `leno cert \
                     rotate-root` puts another root in its place",
                    shown.life_over()
                );
            }
        }
    }
    Ok(text)
}
