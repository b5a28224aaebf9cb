//! Where leno does not do as Envoy, and why. None of it is laxer about where a message ends. What it does instead is
//! held in `leno.txt`.

struct Intent {
    why: &'static str,
    cases: &'static [&'static str],
}

const INTENTS: &[Intent] = &[
    // Stricter where a standard says that one must be.
    Intent {
        why: "RFC 9112 §3.2: more than one Host is 400; Envoy joins them",
        cases: &["two different Host", "two equal Host", "a URL and two Host"],
    },
    Intent {
        why: "RFC 9112 §7.1: a chunk ends where it says; Envoy skips what is behind",
        cases: &["more data than said", "a response with too much in a chunk"],
    },
    Intent {
        why: "every length has a limit; Envoy reads any number of bytes",
        cases: &["an extension of 100,000 bytes"],
    },
    Intent {
        why: "RFC 9110 §15.2.2: 101 is asked for and says to what, or nobody knows what follows it",
        cases: &["101 that was not asked for", "101 without Upgrade"],
    },
    Intent {
        why: "RFC 9112 §4 and RFC 9110 §15: a status is three digits, 100 to 999",
        cases: &[
            "a status of four digits",
            "a status of two digits",
            "a status with a sign",
            "status 000",
            "status 99",
        ],
    },
    Intent {
        why: "RFC 9110 §6.5.1: no trailer frames or routes",
        cases: &[
            "Connection as trailer",
            "Content-Length as trailer",
            "Host as trailer",
            "Transfer-Encoding as trailer",
            "a response with Content-Length as trailer",
        ],
    },
    Intent {
        why: "RFC 9110 §7.6.1: what Connection names ends here in both directions",
        cases: &["a header that a response's Connection names"],
    },
    Intent {
        why: "RFC 9110 §10.1.1: HTTP/1.0 clients get no 100",
        cases: &["HTTP/1.0 with Expect"],
    },
    // Another form of the same answer.
    Intent {
        why: "refused with the codec's own version",
        cases: &[
            "HTTP/0.9 with a header",
            "a simple request of HTTP/0.9",
            "length and chunked in HTTP/1.0",
        ],
    },
    Intent {
        why: "refused with an empty body, which needs no guess at its framing",
        cases: &["HEAD without Host"],
    },
    Intent {
        why: "`Connection` is written anew",
        cases: &["an upgrade beside keep-alive", "an upgrade in capitals"],
    },
    Intent {
        why: "each of them is 100-continue",
        cases: &["Expect twice"],
    },
    Intent {
        why: "the upstream's answer is passed on whole, and the connection closed",
        cases: &["an upgrade that is not taken up"],
    },
];

/// Why leno may differ there, if it may.
pub(crate) fn by_intent(case: &str) -> Option<&'static str> {
    let intent = INTENTS.iter().find(|intent| intent.cases.contains(&case));
    intent.map(|intent| intent.why)
}

pub(crate) fn intended() -> impl Iterator<Item = &'static str> {
    INTENTS.iter().flat_map(|intent| intent.cases).copied()
}
