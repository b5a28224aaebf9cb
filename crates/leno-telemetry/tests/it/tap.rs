//! Which requests a tap is told of, and what happens when its reader is slow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leno_engine::compile::listener::Direction;
use leno_engine::flags::Flag;
use leno_proto::control::{TapFilter, TapRecord};
use leno_telemetry::tap::{Filter, Full, Losses, Tap, Tapping, Taps};

use crate::allocations::allocations;
use crate::sample::{PRODUCTPAGE, REVIEWS, Sample, outbound, productpage};

/// A reader that takes `room` records.
fn tap(filter: TapFilter, limit: u32, room: usize) -> (Arc<Taps>, Tapping, Arc<Mutex<Vec<TapRecord>>>) {
    let told: Arc<Mutex<Vec<TapRecord>>> = Arc::default();
    let into = Arc::clone(&told);
    let reader = Box::new(move |record| {
        let mut told = into.lock().unwrap();
        if told.len() >= room {
            return Err(Full);
        }
        told.push(record);
        Ok(())
    });
    let taps = Arc::new(Taps::default());
    let filter = Filter::parse(&filter).unwrap();
    assert!(taps.add(Arc::new(Tap::new(1, filter, limit, reader)), 8));
    let tapping = Tapping::new(Arc::clone(&taps));
    (taps, tapping, told)
}

/// Whether a request is told under this filter.
fn is_told(filter: TapFilter, change: fn(&mut Sample)) -> bool {
    let (_taps, mut tapping, told) = tap(filter, 100, 100);
    let mut sample = outbound();
    change(&mut sample);
    tapping.request(&sample.record(), &productpage());
    let told = told.lock().unwrap().len();
    told == 1
}

fn inbound(sample: &mut Sample) {
    sample.downstream.direction = Direction::Inbound;
    sample.downstream.peer_principal = Some(PRODUCTPAGE.into());
    sample.peer.workload = "browser".into();
    sample.peer.namespace = "web".into();
}

/// A filter, what is different about the request, and whether it is told.
type Case = (TapFilter, fn(&mut Sample), bool);

#[test]
fn all_that_is_set_must_hold() {
    let as_it_is: fn(&mut Sample) = |_| {};
    let with = |change: fn(&mut TapFilter)| {
        let mut filter = TapFilter::default();
        change(&mut filter);
        filter
    };
    let cases: [Case; 27] = [
        (with(|_| {}), as_it_is, true),
        (with(|f| f.method = "get".into()), as_it_is, true),
        (with(|f| f.method = "POST".into()), as_it_is, false),
        (with(|f| f.path = "/reviews".into()), as_it_is, true),
        (with(|f| f.path = "/ratings".into()), as_it_is, false),
        (with(|f| f.path_regex = "/reviews/[0-9]+".into()), as_it_is, true),
        (with(|f| f.path_regex = "/reviews".into()), as_it_is, false),
        (with(|f| f.status = "2xx".into()), as_it_is, true),
        (with(|f| f.status = "404, 200-204".into()), as_it_is, true),
        (with(|f| f.status = "5xx".into()), as_it_is, false),
        (with(|f| f.status = "0".into()), |s| s.response = None, true),
        (with(|f| f.host = "Reviews".into()), as_it_is, true),
        (
            with(|f| f.host = "reviews.default.svc.cluster.local".into()),
            as_it_is,
            true,
        ),
        (with(|f| f.host = "review".into()), as_it_is, false),
        (with(|f| f.peer = "reviews-v2".into()), as_it_is, true),
        (with(|f| f.peer = "svc/reviews.default".into()), as_it_is, true),
        (with(|f| f.peer = "reviews.other".into()), as_it_is, false),
        (with(|f| f.peer = "ns/default".into()), as_it_is, true),
        (with(|f| f.peer = REVIEWS.into()), as_it_is, true),
        (with(|f| f.peer = PRODUCTPAGE.into()), as_it_is, false),
        (with(|f| f.peer = "browser".into()), inbound, true),
        (with(|f| f.peer = "ns/web".into()), inbound, true),
        (with(|f| f.direction = "inbound".into()), as_it_is, false),
        (with(|f| f.direction = "inbound".into()), inbound, true),
        (with(|f| f.once = true), as_it_is, true),
        // Its caller has a proxy that tells it.
        (with(|f| f.once = true), inbound, false),
        (
            with(|f| {
                f.method = "GET".into();
                f.status = "404".into();
            }),
            as_it_is,
            false,
        ),
    ];
    for (filter, change, told) in cases {
        assert_eq!(is_told(filter.clone(), change), told, "{filter:?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_field() {
    let refused = |change: fn(&mut TapFilter)| {
        let mut filter = TapFilter::default();
        change(&mut filter);
        Filter::parse(&filter).unwrap_err().field
    };
    assert_eq!(refused(|f| f.path = "reviews".into()), "path");
    assert_eq!(refused(|f| f.path_regex = "(".into()), "path");
    // Too large to be compiled.
    assert_eq!(refused(|f| f.path_regex = "(?:a{1000}){1000}".into()), "path");
    for status in ["9xx", "600", "204-200", "ok", "1-2-3"] {
        let filter = TapFilter {
            status: status.into(),
            ..TapFilter::default()
        };
        assert_eq!(Filter::parse(&filter).unwrap_err().field, "status", "{status}");
    }
    assert_eq!(refused(|f| f.direction = "up".into()), "direction");
}

#[test]
fn a_request_is_told_whole_and_long_texts_are_cut() {
    let (_taps, mut tapping, told) = tap(TapFilter::default(), 100, 100);
    let mut sample = outbound();
    sample.flags = Flag::UpstreamConnectionFailure.into();
    sample.request.path = vec![b'/'; 3000].into();
    tapping.request(&sample.record(), &productpage());
    let told = told.lock().unwrap();
    let record = &told[0];
    let edge = record.edge.as_ref().unwrap();
    assert_eq!(
        (edge.code, edge.flags.as_str(), edge.failures, edge.mtls),
        (200, "UF", 1, true)
    );
    assert_eq!((edge.rule, record.place.as_str()), (1, "reviews.yaml:8:5"));
    assert_eq!(edge.source.as_ref().unwrap().principal, PRODUCTPAGE);
    assert_eq!(record.path.len(), 1024 + "…".len());
    assert_eq!(record.duration_us, 7_300);
    assert_eq!(record.server_address, "127.0.0.9:9080");
}

#[test]
fn what_a_reader_has_no_room_for_is_lost_and_counted_and_so_is_what_is_over_the_limit() {
    let (taps, mut tapping, told) = tap(TapFilter::default(), 3, 2);
    let mut sample = outbound();
    for _ in 0..5 {
        tapping.request(&sample.record(), &productpage());
    }
    assert_eq!(told.lock().unwrap().len(), 2);
    let losses = Losses {
        id: 1,
        lost: 1,
        over_limit: 2,
    };
    assert_eq!(taps.losses(), [losses]);
    assert_eq!(
        taps.losses(),
        [Losses {
            id: 1,
            ..Losses::default()
        }]
    );
    // In the next second there is room again.
    sample.duration += Duration::from_secs(1);
    told.lock().unwrap().clear();
    tapping.request(&sample.record(), &productpage());
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[test]
fn a_tap_ends_and_nobody_pays_for_what_nobody_watches() {
    let (taps, mut tapping, told) = tap(TapFilter::default(), 100, 100);
    let sample = outbound();
    tapping.request(&sample.record(), &productpage());
    taps.remove(1);
    tapping.request(&sample.record(), &productpage());
    assert_eq!(told.lock().unwrap().len(), 1);
    let local = productpage();
    let record = sample.record();
    assert_eq!(allocations(|| tapping.request(&record, &local)), 0);
}
