//! What the services answer. The JSON has the fields of Istio's bookinfo.

use serde_json::{Value, json};

pub fn details() -> String {
    json!({
        "id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
        "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890",
    })
    .to_string()
}

pub fn ratings() -> String {
    json!({ "id": 0, "ratings": { "Reviewer1": 5, "Reviewer2": 4 } }).to_string()
}

/// `stars`: the colour, and what ratings answered.
pub fn reviews(version: &str, stars: Option<(&str, &str)>) -> String {
    let ratings: Value = stars.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default();
    let review = |reviewer: &str, text: &str| {
        let mut review = json!({ "reviewer": reviewer, "text": text });
        if let Some((color, _)) = stars {
            review["rating"] = json!({ "stars": ratings["ratings"][reviewer], "color": color });
        }
        review
    };
    json!({
        "id": "0", "podname": format!("reviews-{version}"), "clustername": "",
        "reviews": [
            review("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
            review("Reviewer2", "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."),
        ],
    })
    .to_string()
}

pub fn error(what: &str) -> String {
    json!({ "error": what }).to_string()
}

pub fn productpage(details: anyhow::Result<String>, reviews: anyhow::Result<String>) -> String {
    let section = |title: &str, body: String| format!("<section><h2>{title}</h2>{body}</section>");
    let details = match details {
        Ok(text) => details_table(&text),
        Err(error) => unavailable("details", &error),
    };
    let reviews = match reviews {
        Ok(text) => review_list(&text),
        Err(error) => unavailable("reviews", &error),
    };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>The Comedy of Errors</title>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style>\
         <h1>The Comedy of Errors</h1><p class=lead>One of Shakespeare's early plays: twins, twice over.</p>\
         <main>{}{}</main></html>",
        section("Book details", details),
        section("Reviews", reviews),
    )
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
main{display:grid;grid-template-columns:1fr 2fr;gap:2rem}h1{margin-bottom:0}.lead{color:#666;margin-top:.2rem}\
th{text-align:left;padding-right:1rem;font-weight:500;color:#666}blockquote{margin:0 0 1rem;padding-left:1rem;border-left:3px solid #ddd}\
.red{color:#c22}.black{color:#222}.by{color:#666;font-size:.9em}.away{color:#a00}";

fn details_table(text: &str) -> String {
    let details: Value = serde_json::from_str(text).unwrap_or_default();
    let row = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("<tr><th>{}<td>{}", escaped(name), escaped(&value))
    };
    let rows: String = details.as_object().into_iter().flatten().map(row).collect();
    format!("<table>{rows}</table>")
}

fn review_list(text: &str) -> String {
    let page: Value = serde_json::from_str(text).unwrap_or_default();
    let one = |review: &Value| {
        let stars = match (&review["rating"]["stars"], review["rating"]["color"].as_str()) {
            (Value::Number(n), Some(color)) => {
                let stars = "★".repeat(usize::try_from(n.as_u64().unwrap_or(0)).unwrap_or(0).min(5));
                format!("<span class={}>{stars}</span>", escaped(color))
            }
            _ => String::new(),
        };
        let field = |name: &str| escaped(review[name].as_str().unwrap_or(""));
        format!("<blockquote>{}<br><span class=by>{}</span> {stars}</blockquote>", field("text"), field("reviewer"))
    };
    let list: String = page["reviews"].as_array().into_iter().flatten().map(one).collect();
    format!("{list}<p class=by>served by {}</p>", escaped(page["podname"].as_str().unwrap_or("?")))
}

fn unavailable(service: &str, error: &anyhow::Error) -> String {
    format!("<p class=away>{service} is not available: {}</p>", escaped(&format!("{error:#}")))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
