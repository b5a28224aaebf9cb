//! The product page as a browser shows it. Nothing on it comes from anywhere else.

use serde_json::Value;

use super::book::{SUMMARY, TITLE};
use super::call::Answer;

/// What the page's parts were told.
pub struct Parts {
    pub details: anyhow::Result<Answer>,
    pub reviews: anyhow::Result<Answer>,
}

/// Files below `/static/`: content type and text.
pub fn file(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "style.css" => Some(("text/css", include_str!("page/style.css"))),
        "live.js" => Some(("text/javascript", include_str!("page/live.js"))),
        "icon.svg" => Some(("image/svg+xml", include_str!("page/icon.svg"))),
        "cover.svg" => Some(("image/svg+xml", include_str!("page/cover.svg"))),
        _ => None,
    }
}

/// `instance`: what productpage calls itself.
pub fn productpage(instance: &str, user: Option<&str>, parts: &Parts) -> String {
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{TITLE}</title>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <link rel=icon href=/static/icon.svg>\n<link rel=stylesheet href=/static/style.css>\n\
         <script type=module src=/static/live.js></script>\n\
         <div class=top><div class=wrap>\n\
         <a class=brand href=/productpage><img src=/static/icon.svg alt=\"\">Bookinfo</a>\n{}\n</div></div>\n\
         <main class=wrap>\n<h1>{TITLE}</h1>\n<p class=lead>{SUMMARY}</p>\n<div class=columns>\n\
         <div><img class=cover src=/static/cover.svg alt=\"\">\n{}</div>\n<div>\n{}{}</div>\n</div>\n\
         <p class=by>This page was made by <b>{}</b></p>\n</main>\n</html>\n",
        sign_in(user),
        details(&parts.details),
        reviews(&parts.reviews),
        ANSWERS,
        escaped(instance),
    )
}

fn sign_in(user: Option<&str>) -> String {
    match user {
        Some(user) => format!(
            "<p class=user>signed in as <b>{}</b> <a href=/logout>Sign out</a></p>",
            escaped(user)
        ),
        None => "<form class=user method=post action=/login>\
                 <input name=username aria-label=\"User name\" placeholder=\"jason\" required maxlength=40 pattern=\"[A-Za-z0-9._\\-]+\" autocomplete=off> \
                 <button>Sign in</button></form>"
            .to_owned(),
    }
}

/// In the order in which a reader wants them.
const DETAILS: [&str; 8] = [
    "author",
    "year",
    "type",
    "pages",
    "publisher",
    "language",
    "ISBN-10",
    "ISBN-13",
];

fn details(told: &anyhow::Result<Answer>) -> String {
    let (body, by) = match told {
        Ok(answer) => {
            let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let row = |name: &&str| {
                let value = &told[*name];
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("<dt>{}<dd>{}\n", capitalized(name), escaped(&value))
            };
            let rows: String = DETAILS.iter().filter(|n| !told[**n].is_null()).map(row).collect();
            (format!("<dl>\n{rows}</dl>"), answered_by(&answer.served_by))
        }
        Err(error) => (unavailable("details", error), String::new()),
    };
    format!("<section id=details>\n<div class=head><h2>Details</h2>{by}</div>\n{body}\n</section>\n")
}

fn reviews(told: &anyhow::Result<Answer>) -> String {
    let (body, name, stars) = match told {
        Ok(answer) => {
            let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let reviews = told["reviews"].as_array().map(Vec::as_slice).unwrap_or_default();
            let stars = reviews.first().map_or("none", star_color);
            let list: String = reviews.iter().map(review).collect();
            (
                list,
                told["podname"].as_str().unwrap_or("reviews").to_owned(),
                stars,
            )
        }
        Err(error) => (unavailable("reviews", error), String::new(), "failed"),
    };
    let by = if name.is_empty() {
        String::new()
    } else {
        answered_by(&name)
    };
    let answer = if name.is_empty() {
        "no answer"
    } else {
        name.as_str()
    };
    format!(
        "<section id=reviews data-answer=\"{}\" data-stars={stars}>\n<div class=head><h2>Reviews</h2>{by}</div>\n{body}</section>\n",
        escaped(answer)
    )
}

fn review(review: &Value) -> String {
    let field = |name: &str| escaped(review[name].as_str().unwrap_or_default());
    format!(
        "<article class=review><blockquote>{}</blockquote>\n<footer>{}<cite>{}</cite></footer></article>\n",
        field("text"),
        rating(review),
        field("reviewer")
    )
}

fn rating(review: &Value) -> String {
    let rating = &review["rating"];
    if let Some(error) = rating["error"].as_str() {
        return format!("<span class=trouble>{}</span> ", escaped(error));
    }
    let Some(stars) = rating["stars"].as_u64().and_then(|n| usize::try_from(n).ok()) else {
        return String::new();
    };
    let stars = stars.min(5);
    format!(
        "<span class=\"stars {}\" role=img aria-label=\"{stars} of 5 stars\">{}<i>{}</i></span> ",
        star_color(review),
        "★".repeat(stars),
        "★".repeat(5 - stars)
    )
}

/// One of the style's classes, whatever the service says.
fn star_color(review: &Value) -> &'static str {
    match review["rating"]["color"].as_str() {
        Some("red") => "red",
        Some(_) => "black",
        None => "none",
    }
}

/// Filled and shown by `live.js`.
const ANSWERS: &str = "<section class=answers id=answers hidden>\n\
<div class=head><h2>Who answered</h2><button class=quiet id=ask aria-pressed=false>Keep asking</button></div>\n\
<p>Each square is one answer of the reviews service. Change the weights of its route and watch.</p>\n\
<div class=strip id=strip aria-hidden=true></div>\n<ul class=legend id=legend></ul>\n</section>\n";

fn answered_by(instance: &str) -> String {
    if instance.is_empty() {
        return String::new();
    }
    format!("<span class=by>answered by <b>{}</b></span>", escaped(instance))
}

fn unavailable(what: &str, error: &anyhow::Error) -> String {
    format!(
        "<div class=away><b>Error fetching product {what}!</b>\n\
         <p>Sorry, product {what} are currently unavailable for this book.</p><small>{}</small></div>\n",
        escaped(&format!("{error:#}"))
    )
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
