//! The tour: its commands one after the other as they stand, each followed by what it shows.

use leno_testkit::{Browser, OrdinaryUser, Process, eventually};

use super::{section, shell};
use crate::support::stdout;

/// A command, of one line or more, and lines that it shows.
#[derive(Debug, Default)]
struct Step {
    command: String,
    shows: Vec<String>,
}

fn steps() -> Vec<Step> {
    let section = section("A tour");
    let mut steps: Vec<Step> = Vec::new();
    for (i, block) in section.split("```").enumerate().filter(|(i, _)| i % 2 == 1) {
        let (kind, body) = block
            .split_once('\n')
            .unwrap_or_else(|| panic!("fence {i}: {block}"));
        match kind {
            "console" => {
                for line in body.lines() {
                    match (line.strip_prefix("$ "), steps.last_mut()) {
                        (Some(command), _) => steps.push(Step {
                            command: command.to_owned(),
                            ..Step::default()
                        }),
                        (None, Some(step)) => step.command += &format!("\n{line}"),
                        (None, None) => panic!("no command before {line}"),
                    }
                }
            }
            "text" => steps
                .last_mut()
                .unwrap()
                .shows
                .extend(body.lines().map(str::to_owned)),
            other => panic!("a fence of {other}"),
        }
    }
    steps
}

/// `…` in a line stands for anything.
fn shows(output: &str, line: &str) -> bool {
    output.lines().any(|shown| {
        let mut rest = shown;
        line.split('…').map(str::trim).all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

/// Runs a step again and again until it shows what it should: the mesh takes a moment.
#[track_caller]
fn follow(user: &OrdinaryUser, step: &Step) {
    eventually(&format!("{step:?}"), || {
        let output = shell(user, &step.command).output().unwrap();
        let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        match output.status.success() && step.shows.iter().all(|line| shows(&said, line)) {
            true => Ok(()),
            false => Err(said),
        }
    });
}

#[test]
fn each_step_of_the_tour_works_as_it_stands_and_shows_what_it_says() {
    let user = OrdinaryUser::new();
    let steps = steps();
    let [demo, then @ ..] = steps.as_slice() else {
        panic!("no steps")
    };
    let demo = Process::spawn(shell(&user, &demo.command));
    let said = demo.wait_for_output("The product page is at ");
    let page = said
        .lines()
        .find_map(|line| line.strip_prefix("The product page is at "))
        .unwrap();
    eventually("the page is served", || {
        let output = user
            .command("curl")
            .args(["-sSf", "-m", "20", page])
            .output()
            .unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(output)
        }
    });
    let profile = user.home().join("chromium");
    let test = "each_step_of_the_tour_works_as_it_stands_and_shows_what_it_says";
    let mut browser = Browser::start(test, &profile, |program| user.command(program));
    let stars = |browser: &mut Option<Browser>, condition: &str| {
        if let Some(browser) = browser {
            browser.wait_until(&format!(
                "(reviews => {condition})(document.querySelector('#reviews'))"
            ));
        }
    };
    if let Some(browser) = &mut browser {
        browser.open(page);
        browser.wait_until("!document.querySelector('#answers').hidden");
        browser.value("document.querySelector('#ask').click()");
    }
    for step in then {
        follow(&user, step);
        // What the text says between the commands.
        if step.command.contains("weight: 30") {
            stars(&mut browser, "reviews.dataset.stars == 'red'");
        } else if step.command.starts_with("leno explain") {
            if let Some(browser) = &mut browser {
                browser.value("document.querySelector('[name=username]').value = 'jason'");
                browser.value("document.querySelector('form.user button').click()");
                browser.wait_until("document.querySelector('.user b')?.textContent == 'jason'");
            }
            stars(&mut browser, "reviews.dataset.stars == 'black'");
        } else if step.command.contains("> mesh/ratings.yaml") {
            stars(
                &mut browser,
                "reviews.innerText.includes('Ratings service is currently unavailable')",
            );
        }
    }
    // It ends, and its last step has put everything right.
    stars(&mut browser, "reviews.dataset.stars == 'black'");
}
