//! What is done about peers that are slow or silent.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::script::check;

#[test]
fn a_stalled_peer_loses_what_others_can_send() {
    check(
        "
        chunks 4
        a has all
        b has all
        tick 14s
        b gives 1
        ?
        tick 1s
        ?
        ",
        expect![[r#"
            a <- 0
            b <- 1
            14s b <- 2
            14s wait 1s
            15s a -x 0
            15s wait 1s
        "#]],
    );
}

#[test]
fn a_stalled_peer_keeps_what_nobody_else_has() {
    check(
        "
        chunks 1 1
        a has 0
        b has 1
        tick 15s
        ?
        a gives 0
        b gives 1
        ?
        ",
        expect![[r#"
            a <- 0
            b <- 1
            15s wait 15s
            15s done
        "#]],
    );
}

#[test]
fn what_somebody_waits_for_is_taken_from_a_peer_ten_times_slower() {
    check(
        "
        chunks 30
        demand 0 order 1
        a has all
        b has all
        tick 100ms
        b gives all
        tick 100ms
        b gives all
        tick 1800ms
        b gives all
        ",
        expect![[r#"
            a <- 0
            b <- 1
            100ms b <- 2
            100ms b <- 3
            200ms b <- 4-5
            200ms b <- 6-7
            2s a -x 0
            2s b <- 0 8-10
            2s a <- 11
            2s b <- 12-15
        "#]],
    );
}

#[test]
fn what_waits_in_a_queue_is_asked_of_who_has_it_too() {
    check(
        "
        chunks 4
        a has all
        tick 900ms
        b has 0
        tick 100ms
        tick 1s
        a grants 1
        c has 1
        tick 3s
        ",
        expect![[r#"
            a <- 0
            1s a -x 0
            1s b <- 0
            1s a <- 1
        "#]],
    );
}

#[test]
fn a_peer_that_lost_its_first_group_is_not_given_the_end_of_another() {
    check(
        "
        chunks 24
        a has all
        b has all
        b grants 1
        tick 200ms
        a gives all
        tick 200ms
        a gives 2-3
        tick 400ms
        a gives 4-7
        tick 700ms
        a gives 8-14
        tick 900ms
        a gives all
        a gives all
        a gives 21
        c has 1
        ?
        ",
        expect![[r#"
            a <- 0
            b <- 1
            200ms a <- 2
            200ms a <- 3
            400ms a <- 4-5
            400ms a <- 6-7
            800ms a <- 8-11
            800ms a <- 12-14
            800ms a <- 15
            1.5s a <- 16-17
            1.5s a <- 18
            2.4s a <- 19
            2.4s a <- 20
            2.4s a <- 21
            2.4s a <- 22
            2.4s a <- 23
            2.4s b -x 1
            2.4s c <- 1
            2.4s wait 1s
        "#]],
    );
}

#[test]
fn bytes_are_a_sign_of_life() {
    check(
        "
        chunks 1
        a has all
        tick 10s
        a sends 1000
        tick 5s
        b has all
        tick 9s
        tick 1s
        ",
        expect![[r#"
            a <- 0
            15s b <- 0
            25s a -x 0
        "#]],
    );
}

#[test]
fn a_peer_that_drips_is_given_up_after_three_times_as_long() {
    check(
        "
        chunks 1
        a has all
        tick 14s
        a sends 1000
        tick 14s
        a sends 1000
        tick 14s
        a sends 1000
        b has all
        tick 2s
        tick 1s
        ",
        expect![[r#"
            a <- 0
            42s b <- 0
            45s a -x 0
        "#]],
    );
}

#[test]
fn the_rest_of_a_slow_peer_is_split_at_the_tail() {
    check(
        "
        chunks 12
        b has 0
        tick 100ms
        b gives 0
        a has all
        tick 1s
        a gives all
        tick 1s
        a gives all
        tick 1s
        a gives all
        b has all
        b gives all
        b gives all
        a gives all
        ?
        ",
        expect![[r#"
            b <- 0
            100ms a <- 1
            1.1s a <- 2
            1.1s a <- 3
            2.1s a <- 4-5
            2.1s a <- 6-7
            3.1s a <- 8-9
            3.1s a <- 10-11
            3.1s a -> 10
            3.1s b <- 11
            3.1s a -x 10-11
            3.1s b <- 10
            3.1s a -> 8
            3.1s b <- 9
            3.1s wait 1s
        "#]],
    );
}

#[test]
fn the_last_groups_are_asked_twice_and_the_loser_is_dropped() {
    check(
        "
        chunks 3
        a has all
        b has all
        tick 1s
        a gives 0
        tick 1s
        a gives 2
        tick 1s
        a gives 1
        ?
        ",
        expect![[r#"
            a <- 0
            b <- 1
            1s a <- 2
            3s a <- 1
            3s b -x 1
            3s done
        "#]],
    );
}

#[test]
fn what_comes_late_is_taken() {
    check(
        "
        chunks 1
        a has all
        tick 14s
        b has all
        tick 1s
        a gives 0
        ?
        ",
        expect![[r#"
            a <- 0
            14s b <- 0
            15s a -x 0
            15s b -x 0
            15s done
        "#]],
    );
}
