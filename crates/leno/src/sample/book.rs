//! What the services say of the book, with the fields of Istio's bookinfo.

use serde_json::{Value, json};

pub const TITLE: &str = "The Comedy of Errors";
pub const SUMMARY: &str = "Two pairs of twins, parted by a shipwreck when they were children, are taken for one another all day \
                           long in Ephesus. Shakespeare's shortest play, and his most farcical.";

pub fn products() -> Value {
    json!([{ "id": 0, "title": TITLE, "descriptionHtml": SUMMARY }])
}

pub fn details() -> Value {
    json!({
        "id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
        "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890",
    })
}

pub fn ratings() -> Value {
    json!({ "id": 0, "ratings": { "Reviewer1": 5, "Reviewer2": 4 } })
}

/// How a version of reviews shows stars, and what ratings said.
pub struct Stars {
    pub color: &'static str,
    /// None: there are none to be had now.
    pub ratings: Option<Value>,
}

/// `stars` is none for a version that shows none.
pub fn reviews(instance: &str, stars: Option<&Stars>) -> Value {
    let review = |reviewer: &str, text: &str| {
        let mut review = json!({ "reviewer": reviewer, "text": text });
        match stars {
            Some(Stars {
                color,
                ratings: Some(ratings),
            }) => {
                review["rating"] = json!({ "stars": ratings["ratings"][reviewer], "color": color });
            }
            Some(_) => review["rating"] = json!({ "error": "Ratings service is currently unavailable" }),
            None => {}
        }
        review
    };
    json!({
        "id": "0", "podname": instance, "clustername": "",
        "reviews": [
            review("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
            review("Reviewer2", "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."),
        ],
    })
}
