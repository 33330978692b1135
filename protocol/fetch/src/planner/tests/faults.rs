//! What is done about peers that lie, refuse, fail or go.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::script::check;

#[test]
fn the_second_forged_group_ends_a_peer_for_an_hour() {
    check(
        "
        a has all
        a forges 0
        a forges 0
        ?
        tick 3599s
        ?
        tick 1s
        ",
        expect![[r#"
            a <- 0
            a first
            a <- 0
            a banned
            stuck
            3599s stuck
            3600s a <- 0
        "#]],
    );
}

#[test]
fn a_peer_that_turns_liar_begins_anew_and_loses_all_its_requests() {
    check(
        "
        chunks 40
        a has all
        tick 100ms
        a gives all
        a gives all
        a gives all
        a gives all
        a forges 15
        ",
        expect![[r#"
            a <- 0
            100ms a <- 1
            100ms a <- 2
            100ms a <- 3-4
            100ms a <- 5-6
            100ms a <- 7-10
            100ms a <- 11-14
            100ms a <- 15-20
            100ms a <- 21-26
            100ms a <- 27-30
            100ms a first
            100ms a -x 21-26
            100ms a -x 27-30
            100ms a <- 15
        "#]],
    );
}

#[test]
fn a_busy_peer_is_left_alone_and_comes_back() {
    check(
        "
        a has all
        a busy 2000
        ?
        tick 1999ms
        tick 1001ms
        ",
        expect![[r#"
            a <- 0
            wait 2.444359217s
            3s a <- 0
        "#]],
    );
}

#[test]
fn a_peer_that_asks_for_a_year_gets_a_minute() {
    check(
        "
        a has all
        a busy 31536000000
        tick 59s
        tick 31s
        ",
        expect![[r#"
            a <- 0
            90s a <- 0
        "#]],
    );
}

#[test]
fn failures_double_the_wait_up_to_a_minute() {
    check(
        "
        a has all
        a fails
        ?
        tick 1s
        a fails
        ?
        tick 2s
        a fails
        ?
        tick 4s
        a fails
        tick 8s
        a fails
        tick 16s
        a fails
        tick 32s
        a fails
        ?
        ",
        expect![[r#"
            a <- 0
            wait 1s
            1s a <- 0
            1s wait 2s
            3s a <- 0
            3s wait 4s
            7s a <- 0
            15s a <- 0
            31s a <- 0
            63s a <- 0
            63s wait 60s
        "#]],
    );
}

#[test]
fn a_peer_that_sends_nothing_of_what_it_granted_has_failed() {
    check(
        "
        a has all
        a ends
        ?
        ",
        expect![[r#"
            a <- 0
            wait 1s
        "#]],
    );
}

#[test]
fn a_peer_is_not_asked_again_for_what_it_does_not_hold() {
    check(
        "
        chunks 3
        a has all
        a lacks
        a lacks
        a lacks
        ?
        b has 1
        ",
        expect![[r#"
            a <- 0
            a <- 1
            a <- 2
            stuck
            b <- 1
        "#]],
    );
}

#[test]
fn a_peer_that_does_not_speak_the_protocol_is_not_asked_again() {
    check(
        "
        a has all
        a unsupported
        ?
        ",
        expect![[r#"
            a <- 0
            stuck
        "#]],
    );
}

#[test]
fn a_peer_that_leaves_gives_everything_back() {
    check(
        "
        chunks 2
        a has all
        b has all
        a leaves
        b gives all
        ",
        expect![[r#"
            a <- 0
            b <- 1
            b <- 0
        "#]],
    );
}
