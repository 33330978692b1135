//! What is asked of whom, in which order and how much at once.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use expect_test::expect;

use super::script::check;

#[test]
fn a_new_peer_gets_one_group_until_one_has_verified_and_then_doubles() {
    check(
        "
        chunks 40
        a has all
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        ",
        expect![[r#"
            a <- 0
            100ms a <- 1
            100ms a <- 2
            200ms a <- 3-4
            200ms a <- 5-6
            300ms a <- 7-10
            300ms a <- 11-14
            400ms a <- 15-20
            400ms a <- 21-26
            400ms a <- 27-30
            500ms a <- 31-38
            500ms a <- 39
        "#]],
    );
}

#[test]
fn a_slow_peer_has_little_before_it() {
    check(
        "
        chunks 40
        a has all
        tick 8s
        a gives all
        tick 8s
        a gives all
        tick 8s
        a gives all
        ",
        expect![[r#"
            a <- 0
            8s a <- 1
            16s a <- 2
            24s a <- 3
        "#]],
    );
}

#[test]
fn what_is_demanded_comes_first_and_in_order() {
    check(
        "
        chunks 4 4 4
        demand 9-10 order 2
        demand 6-7 order 1
        a has all
        tick 100ms
        a gives all
        a gives all
        a gives all
        a gives all
        a gives all
        ",
        expect![[r#"
            a <- 6
            100ms a <- 7
            100ms a <- 9
            100ms a <- 10 4
            100ms a <- 5 8
            100ms a <- 11 0-2
            100ms a <- 3
        "#]],
    );
}

#[test]
fn a_demand_that_is_taken_back_is_normal_again() {
    check(
        "
        demand 4-7 order 1
        normal 4-5
        a has all
        ",
        expect![[r#"
            a <- 6
        "#]],
    );
}

#[test]
fn a_new_peer_is_not_asked_for_what_somebody_waits_for_if_another_is_proven() {
    check(
        "
        a has all
        tick 100ms
        a gives all
        demand 6-7 order 1
        a gives 1
        b has all
        ",
        expect![[r#"
            a <- 0
            100ms a <- 1
            100ms a <- 2
            100ms a <- 6-7
            100ms b <- 3
        "#]],
    );
}

#[test]
fn the_rarest_chunk_comes_first() {
    check(
        "
        chunks 1 1 1
        x has 0 2
        x busy 60000
        y has 0
        y busy 60000
        a has all
        a gives all
        a gives all
        ",
        expect![[r#"
            x <- 0
            y <- 0
            a <- 1
            a <- 2
            a <- 0
        "#]],
    );
}

#[test]
fn rarity_counts_those_that_hold_a_part() {
    check(
        "
        chunks 2 2 2
        x has 0-1
        y has 0-1 4-5
        a has all
        ",
        expect![[r#"
            x <- 0
            y <- 4
            a <- 2
        "#]],
    );
}

#[test]
fn in_a_chunk_the_group_that_fewest_hold_comes_first() {
    check(
        "
        chunks 6
        x has 0-3
        y has 0-1
        a has all
        ",
        expect![[r#"
            x <- 0
            y <- 1
            a <- 4
        "#]],
    );
}

#[test]
fn of_chunks_that_are_begun_the_one_with_the_rarest_group_goes_on() {
    check(
        "
        chunks 3 3
        have 0 3
        x has 1-2
        x busy 60000
        a has all
        ",
        expect![[r#"
            x <- 1
            a <- 4
        "#]],
    );
}

#[test]
fn where_others_have_parts_four_chunks_are_open_at_a_time() {
    check(
        "
        chunks 2 2 2 2 2 2
        have 0
        x has 2
        a has all
        a gives all
        tick 100ms
        a gives all
        a gives all
        tick 100ms
        a gives all
        a gives all
        ",
        expect![[r#"
            x <- 2
            a <- 3
            a <- 1
            a <- 10
            100ms a <- 11 8
            100ms a <- 9 6
            100ms a <- 7 4-5
        "#]],
    );
}

#[test]
fn what_is_begun_is_finished_first() {
    check(
        "
        chunks 3 3 3
        have 4
        a has all
        tick 100ms
        a gives all
        a gives all
        ",
        expect![[r#"
            a <- 3
            100ms a <- 5
            100ms a <- 0
            100ms a <- 1-2
            100ms a <- 6-7
        "#]],
    );
}

#[test]
fn a_partial_holder_is_asked_for_what_it_has_and_then_for_what_it_gets() {
    check(
        "
        a has 2
        tick 100ms
        a gives 2
        ?
        a has more 5-6
        ",
        expect![[r#"
            a <- 2
            100ms stuck
            100ms a <- 5
            100ms a <- 6
        "#]],
    );
}

#[test]
fn what_is_not_granted_is_asked_of_others() {
    check(
        "
        chunks 15
        a has all
        tick 100ms
        a gives all
        a gives all
        a gives all
        b has 0-14
        a grants 7-8
        ",
        expect![[r#"
            a <- 0
            100ms a <- 1
            100ms a <- 2
            100ms a <- 3-4
            100ms a <- 5-6
            100ms a <- 7-10
            100ms a <- 11-14
            100ms a -> 13
            100ms b <- 14
        "#]],
    );
}

#[test]
fn what_appears_locally_is_not_asked_for_and_not_awaited() {
    check(
        "
        chunks 3
        a has all
        local 0-1
        a gives 2
        ?
        ",
        expect![[r#"
            a <- 0
            a -x 0
            a <- 2
            done
        "#]],
    );
}

#[test]
fn a_relayed_peer_comes_last_and_gets_one_group_at_a_time() {
    check(
        "
        chunks 8
        a relayed
        a has all
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        b has all
        ",
        expect![[r#"
            a <- 0
            100ms a <- 1
            200ms a <- 2
            200ms b <- 3
        "#]],
    );
}

#[test]
fn without_holders_it_is_stuck_and_with_all_groups_done() {
    check(
        "
        chunks 1 1
        ?
        a has 0
        a gives 0
        ?
        b has 1
        b gives 1
        ?
        ",
        expect![[r#"
            stuck
            a <- 0
            stuck
            b <- 1
            done
        "#]],
    );
}

#[test]
fn a_new_peer_that_has_all_and_no_queue_gets_eight_groups_once_one_has_verified() {
    check(
        "
        chunks 40
        a has all
        tick 100ms
        a grants 0
        tick 100ms
        a gives all
        tick 100ms
        a gives all
        ",
        expect![[r#"
            a <- 0
            200ms a <- 1-4
            200ms a <- 5-8
            300ms a <- 9-14
            300ms a <- 15-20
            300ms a <- 21-24
        "#]],
    );
}

#[test]
fn requests_of_several_peers_get_smaller_towards_the_end() {
    check(
        "
        chunks 40
        a has all
        b has all
        tick 100ms
        a gives all
        b gives all
        tick 100ms
        a gives all
        b gives all
        tick 100ms
        a gives all
        b gives all
        tick 100ms
        a gives all
        b gives all
        ",
        expect![[r#"
            a <- 0
            b <- 1
            100ms a <- 2
            100ms a <- 3
            100ms b <- 4
            100ms b <- 5
            200ms a <- 6-7
            200ms a <- 8-9
            200ms b <- 10-11
            200ms b <- 12-13
            300ms a <- 14-17
            300ms a <- 18-21
            300ms b <- 22-25
            300ms b <- 26-28
            300ms b <- 29
            400ms a <- 30-31
            400ms a <- 32-33
            400ms a <- 34
            400ms b <- 35
            400ms b <- 36
            400ms b <- 37
        "#]],
    );
}
