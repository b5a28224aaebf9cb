//! The README does what it says: its commands by hand are run as they stand.

mod tour;

use std::fs;
use std::path::Path;
use std::process::Command;

use leno_testkit::{OrdinaryUser, Process, eventually, shared_binary};

use crate::support::{LENO, stdout};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap()
}

/// The part under this heading.
#[track_caller]
fn section(heading: &str) -> String {
    let text = readme();
    let begin = text
        .find(&format!("## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &text[begin + 3..];
    rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
}

/// What stands in fences of this kind.
fn fences(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .filter_map(|p| p.split_once("```"))
        .map(|(body, _)| body.to_owned())
        .collect()
}

/// A shell with `leno` on its path.
fn shell(user: &OrdinaryUser, line: &str) -> Command {
    let binary = shared_binary(Path::new(LENO));
    let path = std::env::var("PATH").unwrap();
    let mut command = user.command("sh");
    // One command is the shell itself, so that a signal reaches it.
    let exec = if line.starts_with("leno ") { "exec " } else { "" };
    command.args(["-c", &format!("{exec}{line}")]);
    command.env("PATH", format!("{}:{path}", binary.parent().unwrap().display()));
    command
}

#[test]
fn the_commands_by_hand_work_as_they_stand() {
    let user = OrdinaryUser::new();
    let section = section("By hand");
    let commands: Vec<String> = fences(&section, "console")
        .iter()
        .flat_map(|block| {
            block
                .lines()
                .filter_map(|l| l.strip_prefix("$ "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let [make, control, serve, call, status] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert!(shell(&user, make).status().unwrap().success());
    let control = Process::spawn(shell(&user, control));
    eventually("the control plane answers", || {
        let output = shell(&user, status).output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(control.output())
        }
    });
    let _server = Process::spawn(shell(&user, serve));
    eventually("reviews is healthy", || {
        let said = stdout(&shell(&user, status).output().unwrap());
        if said.contains("reviews") && said.contains("healthy") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let called = shell(&user, call).output().unwrap();
    assert!(stdout(&called).contains("Directory listing"), "{called:?}");

    // And with the route that it shows.
    let [route] = fences(&section, "yaml").try_into().unwrap();
    user.write("mesh/reviews.yaml", &route);
    let called = shell(&user, call).output().unwrap();
    assert!(stdout(&called).contains("Directory listing"), "{called:?}");
    let said = stdout(&shell(&user, status).output().unwrap());
    assert!(!said.contains("LN0"), "{said}");
}

#[test]
fn its_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = readme();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let pictures = ["srcset=\"", "src=\""]
        .into_iter()
        .flat_map(|begin| text.split(begin).skip(1));
    let pictures = pictures.filter_map(|rest| rest.split_once('"'));
    let missing: Vec<&str> = links
        .chain(pictures)
        .map(|(link, _)| link)
        .filter(|link| !root.join(link).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_mistake_it_shows_is_answered_in_these_words() {
    let user = OrdinaryUser::new();
    let section = section("By hand");
    let route = fences(&section, "yaml").remove(0);
    let expected = fences(&section, "text").remove(0);
    user.write("reviews.yaml", &route.replace("hosts:", "hots:"));
    let output = shell(&user, "leno validate -f reviews.yaml").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
