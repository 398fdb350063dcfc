//! The counts, levels and streams that the page shows while it sends requests.

use std::collections::BTreeSet;
use std::time::Instant;

use rl_tests::{Screen, eventually};

use crate::page::{Visit, WIDE};

#[test]
fn a_burst_of_25_at_burst_20_shows_20_allowed_and_5_denied() {
    let Some(mut visit) = Visit::start(&["-rate", "1/1000d", "-burst", "20"]) else {
        return;
    };
    visit.browser.click("#burst");
    for (bucket, held) in [("token", "0.0"), ("leaky", "20.0")] {
        visit.wait_for(&format!("#{bucket} [data-count=allowed]"), "20");
        visit.wait_for(&format!("#{bucket} [data-count=denied]"), "5");
        visit.wait_for(&format!("#{bucket} output"), held);
        for (kind, count) in [("allowed", "20"), ("denied", "5"), ("failed", "0")] {
            let shown = visit
                .browser
                .text_of(&format!("#{bucket} [data-count={kind}]"));
            assert_eq!(shown, count, "{kind} by {bucket}");
        }
    }
    visit.wait_for(
        "#summary",
        "Token bucket: 20 allowed, 5 denied, 0 not decided; 0 of 20 remaining.",
    );
    visit.end();
}

#[test]
fn a_stream_settles_at_the_rate() {
    let Some(mut visit) = Visit::start(&["-rate", "5", "-burst", "5"]) else {
        return;
    };
    eventually("both to allow 5 a second", || {
        visit.keep_streaming();
        let is_settled = |rate: f64| (4.6..=5.4).contains(&rate);
        (is_settled(visit.rate_of_allowed("token")) && is_settled(visit.rate_of_allowed("leaky")))
            .then_some(())
    });
    assert_ne!(visit.browser.text_of("#token [data-count=denied]"), "0");
    visit.end();
}

#[test]
fn the_page_shows_an_outage_and_its_end() {
    let Some(mut visit) = Visit::start(&["-deadline", "100ms"]) else {
        return;
    };
    eventually("a level", || {
        visit.keep_streaming();
        (visit.browser.text_of("#leaky .level").contains("of 20 ")).then_some(())
    });
    visit.redis.kill();
    for bucket in ["token", "leaky"] {
        let message = format!("#{bucket} .error");
        eventually("the outage", || {
            visit.keep_streaming();
            visit
                .browser
                .text_of(&message)
                .starts_with("Not decided (503): Redis does not answer")
                .then_some(())
        });
        visit.wait_for(&format!("#{bucket} output"), "?");
        visit.wait_for(&format!("#{bucket} .response"), "retry-after: 1");
    }
    visit.redis.restart();
    for bucket in ["token", "leaky"] {
        eventually("its end", || {
            visit.keep_streaming();
            let is_over = visit
                .browser
                .text_of(&format!("#{bucket} .error"))
                .is_empty();
            let is_known = visit.browser.text_of(&format!("#{bucket} output")) != "?";
            (is_over && is_known).then_some(())
        });
    }
    visit.end();
}

/// The third request is decided at once and answered two seconds later, after two of the three have leaked.
#[test]
fn a_shaped_answer_counts_from_the_time_of_its_decision() {
    let Some(mut visit) = Visit::start(&["-rate", "1", "-burst", "3", "-shape"]) else {
        return;
    };
    visit.browser.fill_in("#burst-size", "3");
    visit.browser.click("#burst");
    visit.wait_for("#leaky [data-count=allowed]", "3");
    assert!(visit.number("#leaky output") < 2.0);
    visit.end();
}

#[test]
fn a_stream_ends_when_the_page_is_hidden() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.fill_in("#stream-rate", "1");
    visit.browser.click("#stream");
    visit.wait_for("#stream", "Stop");
    visit.browser.hide();
    visit.wait_for("#stream", "Stream");
    let sent = visit.number("#token [data-count=allowed]");
    assert!(sent < 55.0, "the stream ran for its whole minute");
    visit.end();
}

#[test]
#[ignore = "make test-full"]
fn a_stream_ends_by_itself_after_a_minute() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.fill_in("#stream-rate", "1");
    visit.browser.click("#stream");
    visit.wait_for("#stream", "Stop");
    eventually("its end", || {
        let is_over = visit.browser.text_of("#stream").starts_with("Stream");
        is_over.then_some(())
    });
    let allowed = "#token [data-count=allowed]";
    eventually("its last answer", || {
        (visit.number(allowed) >= 59.0).then_some(())
    });
    assert!(visit.number(allowed) <= 60.0);
    visit.end();
}

#[test]
fn with_reduced_motion_the_level_changes_at_most_once_a_second() {
    let Some(mut visit) = Visit::start(&[]) else {
        return;
    };
    visit.browser.show_on(Screen {
        is_still: true,
        ..WIDE
    });
    let started = Instant::now();
    visit.browser.click("#burst");
    let mut shown = BTreeSet::new();
    eventually("a full bucket", || {
        let level = visit.browser.text_of("#token output");
        shown.insert(level.clone());
        (level == "20.0").then_some(())
    });
    // Beside one a second: the text from before, one drawn at once, and one for the last fraction of a second.
    let max = started.elapsed().as_secs() + 3;
    assert!(shown.len() as u64 <= max, "{shown:?}");
    visit.end();
}
