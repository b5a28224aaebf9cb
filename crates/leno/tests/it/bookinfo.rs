//! Istio's bookinfo, file by file: what each says, put as it is into the configuration directory of a running mesh, is
//! what then happens. The results are those that Istio's tasks on traffic management describe.

mod site;

use leno_testkit::eventually;
use serde_json::Value;

use crate::cases::{istio_samples, yaml_files};
use crate::shares::bounds;
use site::{HOSTS, Site};

/// One file and what it does.
struct Row {
    file: &'static str,
    /// Files of Istio's that its task has put there before.
    before: &'static [&'static str],
    shows: fn(&Site),
}

const RULES: &str = "networking/destination-rule-all.yaml";
const JASON_TO_V2: &str = "networking/virtual-service-reviews-test-v2.yaml";
/// Often enough that a fair choice between two never looks like none: 2^-32.
const OFTEN: usize = 32;
/// Enough to tell 10 % from 20 %.
const MANY: usize = 1000;

const fn row(file: &'static str, before: &'static [&'static str], shows: fn(&Site)) -> Row {
    Row { file, before, shows }
}

const ROWS: &[Row] = &[
    row("networking/destination-rule-all.yaml", &[], versions_are_known),
    row(
        "networking/destination-rule-all-mtls.yaml",
        &[],
        versions_are_known_and_called_by_mtls,
    ),
    row(
        "networking/destination-rule-reviews.yaml",
        &[],
        reviews_are_chosen_at_random,
    ),
    row("networking/virtual-service-all-v1.yaml", &[RULES], all_v1),
    row("networking/virtual-service-details-v2.yaml", &[RULES], |site| {
        site.eventually("details", "", OFTEN, &["details-v2"]);
        eventually("the page", || {
            has(&site.page("/productpage", ""), "answered by <b>details-v2")
        });
    }),
    row("networking/virtual-service-reviews-v3.yaml", &[RULES], all_red),
    row(
        "networking/virtual-service-reviews-50-v3.yaml",
        &[RULES],
        half_of_reviews_v3,
    ),
    row(
        "networking/virtual-service-reviews-80-20.yaml",
        &[RULES],
        |site| {
            reviews_are_shared(site, &[("reviews-v1", 0.8), ("reviews-v2", 0.2)]);
        },
    ),
    row(
        "networking/virtual-service-reviews-90-10.yaml",
        &[RULES],
        a_tenth_of_reviews_v2,
    ),
    row(
        "networking/virtual-service-reviews-v2-v3.yaml",
        &[RULES],
        |site| {
            reviews_are_shared(site, &[("reviews-v2", 0.5), ("reviews-v3", 0.5)]);
        },
    ),
    row(JASON_TO_V2, &[RULES], |site| {
        site.eventually("reviews", "jason", OFTEN, &["reviews-v2"]);
        site.eventually("reviews", "jane", OFTEN, &["reviews-v1"]);
        eventually("jason's page has black stars", || stars(site, "jason", "black"));
        eventually("everyone else's has none", || stars(site, "", "none"));
    }),
    row(
        "networking/virtual-service-reviews-jason-v2-v3.yaml",
        &[RULES],
        |site| {
            site.eventually("reviews", "jason", OFTEN, &["reviews-v2"]);
            site.eventually("reviews", "jane", OFTEN, &["reviews-v3"]);
            eventually("jason's page has black stars", || stars(site, "jason", "black"));
            eventually("everyone else's has red ones", || stars(site, "", "red"));
        },
    ),
    row(
        "networking/virtual-service-ratings-test-delay.yaml",
        &[RULES, JASON_TO_V2],
        ratings_are_late_for_jason,
    ),
    row(
        "networking/virtual-service-ratings-test-abort.yaml",
        &[RULES, JASON_TO_V2],
        |site| {
            site.eventually("ratings", "jason", 1, &["500"]);
            site.eventually("ratings", "jane", OFTEN, &["ratings-v1"]);
            let unavailable = "Ratings service is currently unavailable";
            eventually("jason's page says so", || {
                has(&site.page("/productpage", "jason"), unavailable)
            });
            eventually("everyone else's has no stars", || stars(site, "", "none"));
        },
    ),
    row("networking/fault-injection-details-v1.yaml", &[], |site| {
        site.eventually("details", "", OFTEN, &["555"]);
        let sorry = "product details are currently unavailable";
        eventually("the page says so", || has(&site.page("/productpage", ""), sorry));
    }),
    row("networking/virtual-service-ratings-db.yaml", &[RULES], |site| {
        ratings_come_from(site, "ratings-v2", 1)
    }),
    row(
        "networking/virtual-service-ratings-mysql.yaml",
        &[RULES],
        |site| {
            ratings_come_from(site, "ratings-v2-mysql", 2);
        },
    ),
    row(
        "networking/virtual-service-ratings-mysql-vm.yaml",
        &[RULES],
        |site| {
            ratings_come_from(site, "ratings-v2-mysql-vm", 3);
        },
    ),
    row(
        "networking/egress-rule-google-apis.yaml",
        &[],
        plain_http_leaves_as_tls,
    ),
    row("gateway-api/route-all-v1.yaml", &[], all_v1),
    row("gateway-api/route-reviews-v1.yaml", &[], |site| {
        site.eventually("reviews", "", OFTEN, &["reviews-v1"]);
        // The others are left as they are.
        site.eventually("details", "", OFTEN, &["details-v1", "details-v2"]);
    }),
    row("gateway-api/route-reviews-v3.yaml", &[], all_red),
    row("gateway-api/route-reviews-50-v3.yaml", &[], half_of_reviews_v3),
    row("gateway-api/route-reviews-90-10.yaml", &[], a_tenth_of_reviews_v2),
    row("networking/bookinfo-gateway.yaml", &[], |site| {
        the_page_is_at(site, 8080)
    }),
    row("gateway-api/bookinfo-gateway.yaml", &[], |site| {
        the_page_is_at(site, 80)
    }),
    row(
        "networking/certmanager-gateway.yaml",
        &[],
        challenges_go_to_their_resolver,
    ),
];

#[test]
fn each_file_of_bookinfo_does_what_istio_s_tasks_say() {
    let Some(samples) = istio_samples("each_file_of_bookinfo_does_what_istio_s_tasks_say") else {
        return;
    };
    let bookinfo = samples.join("bookinfo");
    let mut files: Vec<String> = yaml_files(&bookinfo);
    files.retain(|file| file.starts_with("networking/") || file.starts_with("gateway-api/"));
    let mut rows: Vec<&str> = ROWS.iter().map(|row| row.file).collect();
    rows.sort_unstable();
    assert_eq!(files, rows, "a row for each file");

    let site = Site::start(&bookinfo);
    for row in ROWS {
        println!("{}", row.file);
        site.clear();
        for (number, file) in row.before.iter().enumerate() {
            site.put_as(&format!("before-{number}.yaml"), file);
        }
        site.put(row.file);
        (row.shows)(&site);
        for number in 0..row.before.len() {
            site.mesh.remove(&format!("before-{number}.yaml"));
        }
    }
}

/// A version can be named because the rule says what it is; all of them answer where no route names one.
fn versions_are_known(site: &Site) {
    site.eventually("reviews", "", OFTEN, &["reviews-v1", "reviews-v2", "reviews-v3"]);
    site.eventually("details", "", OFTEN, &["details-v1", "details-v2"]);
    site.put_as("route.yaml", "networking/virtual-service-all-v1.yaml");
    all_v1(site);
    site.mesh.remove("row.yaml");
    for host in HOSTS {
        // The route is left, and names what nobody knows.
        site.eventually(host, "", OFTEN, &["503"]);
    }
    site.mesh.remove("route.yaml");
}

fn versions_are_known_and_called_by_mtls(site: &Site) {
    // What a browser calls may stay plaintext; what only the mesh calls shall not be.
    let strict = |service: &str| {
        format!(
            "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {service}}}
spec: {{selector: {{matchLabels: {{app: {service}}}}}, mtls: {{mode: STRICT}}}}
---"
        )
    };
    let strict = ["details", "reviews", "ratings"].map(strict).concat();
    site.mesh.write("strict.yaml", &strict);
    versions_are_known(site);
    site.mesh.remove("strict.yaml");
}

fn reviews_are_chosen_at_random(site: &Site) {
    let third = 1.0 / 3.0;
    reviews_are_shared(
        site,
        &[
            ("reviews-v1", third),
            ("reviews-v2", third),
            ("reviews-v3", third),
        ],
    );
}

fn all_v1(site: &Site) {
    for host in HOSTS {
        site.eventually(host, "", OFTEN, &[&format!("{host}-v1")]);
    }
    eventually("the page has no stars", || stars(site, "", "none"));
}

fn all_red(site: &Site) {
    site.eventually("reviews", "", OFTEN, &["reviews-v3"]);
    eventually("the page has red stars", || stars(site, "", "red"));
}

fn half_of_reviews_v3(site: &Site) {
    reviews_are_shared(site, &[("reviews-v1", 0.5), ("reviews-v3", 0.5)]);
}

fn a_tenth_of_reviews_v2(site: &Site) {
    reviews_are_shared(site, &[("reviews-v1", 0.9), ("reviews-v2", 0.1)]);
}

#[track_caller]
fn reviews_are_shared(site: &Site, shares: &[(&str, f64)]) {
    eventually("the client's sidecar has the route", || {
        let told = site.ask("reviews", "", 1);
        if told.answers.contains_key("599") {
            Err(told)
        } else {
            Ok(())
        }
    });
    let told = site.ask("reviews", "", MANY);
    let known = told
        .answers
        .keys()
        .all(|answer| shares.iter().any(|(name, _)| answer == name));
    assert!(known, "{told:?}");
    for (instance, share) in shares {
        let count = told.answers.get(*instance).copied().unwrap_or(0);
        let bounds = bounds(MANY, *share);
        assert!(bounds.contains(&count), "{instance}: {count}, not in {bounds:?}");
    }
}

/// Ratings take 7 s, which reviews v2 would wait for, and the page does not.
fn ratings_are_late_for_jason(site: &Site) {
    site.eventually("ratings", "jane", OFTEN, &["ratings-v1"]);
    let told = std::thread::scope(|scope| {
        let direct = scope.spawn(|| site.ask("ratings", "jason", 1));
        let sorry = "Sorry, product reviews are currently unavailable for this book";
        eventually("jason's page goes without", || {
            has(&site.page("/productpage", "jason"), sorry)
        });
        direct.join().unwrap()
    });
    assert!(
        told.answers.contains_key("ratings-v1") && told.seconds >= 7.0,
        "{told:?}"
    );
}

/// Red stars, as many as the database behind this version of ratings says.
fn ratings_come_from(site: &Site, ratings: &str, number: u64) {
    site.eventually("reviews", "", OFTEN, &["reviews-v3"]);
    site.eventually("ratings", "", OFTEN, &[ratings]);
    eventually(&format!("{number} stars from the database"), || {
        stars(site, "", "red")?;
        let reviews = reviews(site, "");
        if reviews["reviews"][0]["rating"]["stars"] == number {
            Ok(())
        } else {
            Err(reviews.to_string())
        }
    });
}

fn plain_http_leaves_as_tls(site: &Site) {
    eventually("plain HTTP to port 80 arrives as TLS at port 443", || {
        let told = site.ask_for("www.googleapis.com", 80, "/books/v1/volumes", "", 1);
        // Host header, name in the TLS hello, path.
        if told.body == "www.googleapis.com www.googleapis.com /books/v1/volumes" {
            Ok(())
        } else {
            Err(told)
        }
    });
}

/// What the gateway leads to productpage, and nothing else.
fn the_page_is_at(site: &Site, port: u16) {
    let url = format!("http://127.0.0.1:{port}");
    eventually("the page, with all its parts", || {
        let page = site.try_curl(&[&format!("{url}/productpage")])?;
        has(&page, "answered by <b>details-v").and_then(|()| has(&page, "answered by <b>reviews-v"))
    });
    for (path, expected) in [
        ("/static/style.css", "200"),
        ("/api/v1/products", "200"),
        ("/api/v1/products/0/ratings", "200"),
        ("/logout", "303"),
        ("/", "404"),
        ("/productpage/more", "404"),
        ("/details/0", "404"),
    ] {
        assert_eq!(site.status(&format!("{url}{path}"), &[]), expected, "{path}");
    }
    let signed_in = site.curl(&["-L", "-c", "jar", "-d", "username=jason", &format!("{url}/login")]);
    assert_eq!(has(&signed_in, "signed in as <b>jason</b>"), Ok(()));
}

/// cert-manager answers a challenge where a certificate is asked for; without it there is nobody to answer.
fn challenges_go_to_their_resolver(site: &Site) {
    let challenge = "http://127.0.0.1/.well-known/acme-challenge/token";
    eventually("the gateway serves it, and there is nobody yet", || {
        has(&site.try_curl(&["-w", "%{http_code}", challenge])?, "503")
    });
    assert_eq!(site.status("http://127.0.0.1/other", &[]), "404");
    let _resolver = site.challenge_resolver("token");
    eventually("the challenge is answered", || {
        has(&site.try_curl(&[challenge])?, "token")
    });
}

/// The reviews as the page gets them.
#[track_caller]
fn reviews(site: &Site, user: &str) -> Value {
    serde_json::from_str(&site.page("/api/v1/products/0/reviews", user)).unwrap()
}

/// Whether this user's page has stars of this colour.
fn stars(site: &Site, user: &str, color: &str) -> Result<(), String> {
    has(&site.page("/productpage", user), &format!("data-stars={color}>"))
}

fn has(page: &str, part: &str) -> Result<(), String> {
    if page.contains(part) {
        Ok(())
    } else {
        Err(page.to_owned())
    }
}
